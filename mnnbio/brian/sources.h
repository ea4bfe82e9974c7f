// Trains of spikes with geometric intervals, each drawn in advance. A calendar of the coming steps says who fires, so
// that a step costs little where nobody does; Brian2 would ask every element in every step.
#ifndef MNNBIO_SOURCES_H
#define MNNBIO_SOURCES_H

#include <algorithm>
#include <cstdint>
#include <vector>

#include "streams.h"

namespace mnnbio {

class Sources
{
    static const int64_t ahead = 256;  // steps in the calendar

    const int64_t size, n_words;
    int32_t* const spikes;      // the elements that fire in the step, and at [size] how many they are
    int32_t* const next_spike;  // step
    const int64_t* const stream;
    const double* const gap_scale;
    const double* const kept;  // probability with which a spike is kept, where rates change in time; null: always
    std::vector<uint64_t> calendar;  // a bit for every element in each of the coming steps

    void enter(int64_t element)
    {
        calendar[next_spike[element] % ahead * n_words + element / 64] |= uint64_t(1) << (element % 64);
    }

public:
    Sources(int64_t size, int32_t* spikes, int32_t* next_spike, const int64_t* stream, const double* gap_scale,
            const double* kept)
        : size(size), n_words((size + 63) / 64), spikes(spikes), next_spike(next_spike), stream(stream),
          gap_scale(gap_scale), kept(kept), calendar(ahead * n_words)
    {
    }

    void start()
    {
        std::fill(calendar.begin(), calendar.end(), 0);
        for (int64_t k = 0; k < size; k++)
            next_spike[k] = bernoulli_gap(stream[k], 0, gap_scale[k]) - 1;
    }

    void step(int64_t now)
    {
        if (now % ahead == 0)  // those who were too far away when their spike was drawn; others are entered again
            for (int64_t k = 0; k < size; k++)
                if (next_spike[k] < now + ahead)
                    enter(k);
        int32_t number = 0;
        for (int64_t word = 0; word < n_words; word++) {
            uint64_t& bits = calendar[now % ahead * n_words + word];
            for (; bits; bits &= bits - 1) {
                const int64_t element = word * 64 + __builtin_ctzll(bits);
                if (!kept || uniform_draw(stream[element], -1 - now) < kept[element])
                    spikes[number++] = (int32_t)element;
                next_spike[element] = (int32_t)now + bernoulli_gap(stream[element], now + 1, gap_scale[element]);
                if (next_spike[element] < now + ahead)
                    enter(element);
            }
        }
        spikes[size] = number;
    }
};

}  // namespace mnnbio

#endif
