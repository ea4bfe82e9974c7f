// Trains of spikes with geometric intervals, each drawn in advance. A calendar of the coming steps says who fires, so
// that a step costs little where nobody does; Brian2 would ask every element in every step.
#ifndef MNNBIO_SOURCES_H
#define MNNBIO_SOURCES_H

#include <algorithm>
#include <cstdint>
#include <string>
#include <vector>

#include "failure.h"
#include "files.h"
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
    std::vector<int32_t> due, gap;  // the elements whose spike is drawn for the step, and the steps to their next one
    std::vector<uint64_t> calendar;  // a bit for every element in each of the coming steps

    void enter(int64_t element)
    {
        calendar[next_spike[element] % ahead * n_words + element / 64] |= uint64_t(1) << (element % 64);
    }

    // In vector code, which asks for arrays that do not overlap.
    void draw_gaps(int32_t number, int64_t counter)
    {
        const int32_t* const __restrict which = due.data();
        int32_t* const __restrict found = gap.data();
        const uint64_t mixed = mix64((uint64_t)counter);
        for (int32_t k = 0; k < number; k++)
            found[k] = gap_of(unit_interval(mix64((uint64_t)stream[which[k]] ^ mixed)), gap_scale[which[k]]);
    }

public:
    Sources(int64_t size, int32_t* spikes, int32_t* next_spike, const int64_t* stream, const double* gap_scale,
            const double* kept)
        : size(size), n_words((size + 63) / 64), spikes(spikes), next_spike(next_spike), stream(stream),
          gap_scale(gap_scale), kept(kept), due(size), gap(size), calendar(ahead * n_words)
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
        int32_t n_due = 0;
        for (int64_t word = 0; word < n_words; word++) {
            uint64_t& bits = calendar[now % ahead * n_words + word];
            for (; bits; bits &= bits - 1)
                due[n_due++] = (int32_t)(word * 64 + __builtin_ctzll(bits));
        }
        draw_gaps(n_due, now + 1);
        int32_t number = 0;
        for (int32_t k = 0; k < n_due; k++) {
            next_spike[due[k]] = (int32_t)now + gap[k];
            if (next_spike[due[k]] < now + ahead)
                enter(due[k]);
            if (!kept || uniform_draw(stream[due[k]], -1 - now) < kept[due[k]])
                spikes[number++] = due[k];
        }
        spikes[size] = number;
    }
};

// Spikes that are given: of every stimulus the steps, counted from the end of the warm-up, and the elements.
class Playback
{
    const std::vector<int64_t> stops, steps, elements;
    int32_t* const spikes;
    const int64_t size, replicas;
    std::vector<int64_t> next, last;
    int64_t warmup = 0;

public:
    Playback(const std::string& stops, const std::string& steps, const std::string& elements, int32_t* spikes,
             int64_t size, int64_t replicas)
        : stops(read_file<int64_t>(stops)), steps(read_file<int64_t>(steps)), elements(read_file<int64_t>(elements)),
          spikes(spikes), size(size), replicas(replicas), next(replicas), last(replicas)
    {
        if (this->stops.empty() || this->steps.size() != this->elements.size()
            || this->stops.back() != (int64_t)this->steps.size())
            fail(steps + " does not hold the spikes of a source");
        for (const int64_t element : this->elements)
            if (element < 0 || element >= size)
                fail(elements + " names elements that the source does not have");
    }

    template <typename Stimulus> void start(Stimulus stimulus, int64_t n_warmup)
    {
        warmup = n_warmup;
        for (int64_t r = 0; r < replicas; r++) {
            const int64_t row = stops.size() == 1 ? 0 : stimulus(r);
            if (row >= (int64_t)stops.size())
                fail("no stimulus " + std::to_string(row) + " of a source of given spikes");
            next[r] = row ? stops[row - 1] : 0;
            last[r] = stops[row];
            while (next[r] < last[r] && steps[next[r]] < -warmup)
                next[r]++;
        }
    }

    void step(int64_t now)
    {
        int32_t number = 0;
        for (int64_t r = 0; r < replicas; r++)
            for (; next[r] < last[r] && steps[next[r]] == now - warmup; next[r]++)
                spikes[number++] = (int32_t)(r * size + elements[next[r]]);
        spikes[replicas * size] = number;
    }
};

}  // namespace mnnbio

#endif
