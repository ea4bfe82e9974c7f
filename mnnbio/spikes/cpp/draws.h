// The draws of streams.h for many elements at once, in loops without branches, which compilers turn into vector code.
#ifndef MNNBIO_DRAWS_H
#define MNNBIO_DRAWS_H

#include <algorithm>
#include <cmath>
#include <cstdint>

#include "streams.h"

namespace mnnbio {

const int64_t block = 256;  // elements at a time, whose intermediate results stay in the fastest memory

// uniform() of `size` streams at one counter.
inline void uniform_draws(double* __restrict values, const int64_t* __restrict stream, int64_t size, int64_t counter)
{
    const uint64_t mixed = mix64((uint64_t)counter);
    for (int64_t k = 0; k < size; k++)
        values[k] = unit_interval(mix64((uint64_t)stream[k] ^ mixed));
}

inline void normal_draws(double* values, const int64_t* stream, int64_t size, int64_t counter)
{
    double u[block], tail[block];
    int32_t place[block];
    for (int64_t from = 0; from < size; from += block) {
        const int64_t n = std::min(block, size - from);
        double* const __restrict x = values + from;
        uniform_draws(u, stream + from, n, counter);
        for (int64_t k = 0; k < n; k++)
            x[k] = normal_centre(u[k] - 0.5);
        int32_t n_tail = 0;
        for (int64_t k = 0; k < n; k++) {  // fewer than one in six
            place[n_tail] = (int32_t)k;
            n_tail += std::fabs(u[k] - 0.5) > centre_width;
        }
        double farthest = 0.0;
        for (int32_t k = 0; k < n_tail; k++)
            tail[k] = tail_distance(u[place[k]]);
        for (int32_t k = 0; k < n_tail; k++)
            farthest = std::max(farthest, tail[k]);
        for (int32_t k = 0; k < n_tail; k++)
            tail[k] = normal_tail(tail[k]);
        for (int32_t k = 0; k < n_tail; k++)
            x[place[k]] = u[place[k]] < 0.5 ? -tail[k] : tail[k];
        if (farthest > tail_end)  // hardly ever
            for (int32_t k = 0; k < n_tail; k++)
                x[place[k]] = normal_quantile(u[place[k]]);
    }
}

inline void poisson_draws(double* values, const int64_t* stream, const double* quiet, int64_t size, int64_t counter)
{
    double u[block], mean[block], p[block], cumulative[block];
    for (int64_t from = 0; from < size; from += block) {
        const int64_t n = std::min(block, size - from);
        double* const __restrict count = values + from;
        const double* const __restrict none = quiet + from;
        uniform_draws(u, stream + from, n, counter);
        for (int64_t k = 0; k < n; k++) {
            mean[k] = -log_of(none[k]);
            p[k] = cumulative[k] = none[k];
            count[k] = 0.0;
        }
        double open = 1.0;
        for (double number = 1.0; open > 0.0; number += 1.0) {  // as poisson_draw does, one count more a round
            open = 0.0;
            for (int64_t k = 0; k < n; k++) {
                const double more = (u[k] >= cumulative[k]) & (p[k] > 1e-300) ? 1.0 : 0.0;
                count[k] += more;
                p[k] *= mean[k] / number;
                cumulative[k] += p[k];
                open += more;
            }
        }
    }
}

}  // namespace mnnbio

#endif
