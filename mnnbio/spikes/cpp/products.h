// Products of a full matrix and a variable of its sources, which targets hold in every step: shared noise, modes, channels.
#ifndef MNNBIO_PRODUCTS_H
#define MNNBIO_PRODUCTS_H

#include <cstdint>
#include <string>
#include <vector>

#include "failure.h"
#include "files.h"

namespace mnnbio {

class Product
{
    const Mapped<double> weights;  // of every stimulus, or one for all: a row of targets for each source
    const int64_t replicas, n_source, n_target;
    const double* const source;
    double* const values;
    std::vector<int64_t> row;  // of every replica's weights

public:
    Product(const std::string& path, int64_t replicas, int64_t n_source, int64_t n_target, const double* source,
            double* values)
        : weights(path), replicas(replicas), n_source(n_source), n_target(n_target), source(source), values(values),
          row(replicas, 0)
    {
        if (!weights.size() || weights.size() % (n_source * n_target))
            fail(path + " does not hold weights of " + std::to_string(n_source) + " sources and "
                 + std::to_string(n_target) + " targets");
    }

    template <typename Stimulus> void start(const Stimulus& stimulus)
    {
        const int64_t rows = weights.size() / (n_source * n_target);
        for (int64_t r = 0; r < replicas; r++) {
            row[r] = rows > 1 ? stimulus(r) : 0;
            if (row[r] >= rows)
                fail("no weights for stimulus " + std::to_string(row[r]));
        }
    }

    void step()
    {
        for (int64_t r = 0; r < replicas; r++) {
            double* const __restrict v = values + r * n_target;
            const double* const __restrict x = source + r * n_source;
            const double* __restrict w = weights.begin() + row[r] * n_source * n_target;
            // Four sources at a time, so that `v` is read and written less often; the first ones set it.
            const int64_t m = n_target;
            int64_t i = n_source < 4 ? n_source : 4;
            if (i == 1)
                for (int64_t k = 0; k < m; k++)
                    v[k] = w[k] * x[0];
            else if (i == 2)
                for (int64_t k = 0; k < m; k++)
                    v[k] = w[k] * x[0] + w[k + m] * x[1];
            else if (i == 3)
                for (int64_t k = 0; k < m; k++)
                    v[k] = w[k] * x[0] + w[k + m] * x[1] + w[k + 2 * m] * x[2];
            else
                for (int64_t k = 0; k < m; k++)
                    v[k] = w[k] * x[0] + w[k + m] * x[1] + w[k + 2 * m] * x[2] + w[k + 3 * m] * x[3];
            w += i * m;
            for (; i + 3 < n_source; i += 4, w += 4 * m)
                for (int64_t k = 0; k < m; k++)
                    v[k] = v[k] + w[k] * x[i] + w[k + m] * x[i + 1] + w[k + 2 * m] * x[i + 2] + w[k + 3 * m] * x[i + 3];
            for (; i < n_source; i++, w += m)
                for (int64_t k = 0; k < m; k++)
                    v[k] += w[k] * x[i];
        }
    }
};

}  // namespace mnnbio

#endif
