// State variables: which of them are recorded, and whether they have blown up.
#ifndef MNNBIO_STATES_H
#define MNNBIO_STATES_H

#include <cstdint>
#include <sstream>
#include <string>
#include <vector>

#include "failure.h"
#include "recording.h"
#include "streams.h"

namespace mnnbio {

class States
{
    static const size_t full = 1 << 15;  // numbers after which a buffer is written

    struct Variable {
        std::string name, owner;
        const double* values;
        int64_t size, replicas;
        double limit;
    };

    // What is recorded: a variable, its elements, every so many steps from the end of the warm-up on; or, with
    // `every` = 0, once at the end of a presentation.
    struct Channel {
        Variable variable;
        int64_t every, number;
        bool all;
        std::vector<int64_t> elements;
        std::vector<double> buffer;
    };

    std::vector<Variable> variables;
    std::vector<Channel> channels;

    void take(Channel& channel, Recorder& recorder)
    {
        const Variable& own = channel.variable;
        for (int64_t r = 0; r < own.replicas; r++) {
            const double* const from = own.values + r * own.size;
            if (channel.all)
                channel.buffer.insert(channel.buffer.end(), from, from + own.size);
            else
                for (const int64_t k : channel.elements)
                    channel.buffer.push_back(from[k]);
        }
        if (channel.buffer.size() >= full)
            flush(channel, recorder);
    }

    void flush(Channel& channel, Recorder& recorder)
    {
        if (!channel.buffer.empty())
            recorder.write_block(channel.number, channel.buffer);
        channel.buffer.clear();
    }

    // In the bits, because compilers may be told that no number is infinite or undefined.
    static bool is_within(double value, uint64_t limit)
    {
        return (to_bits(value) & 0x7fffffffffffffffULL) <= limit;
    }

public:
    void add(const std::string& name, const std::string& owner, const double* values, int64_t size, int64_t replicas,
             double limit)
    {
        variables.push_back({name, owner, values, size, replicas, limit});
    }

    // Of every channel: variable, steps between samples, number of elements (-1: all), the elements.
    void choose(const std::vector<int64_t>& numbers, int64_t first)
    {
        for (size_t k = 0; k < numbers.size();) {
            if (k + 3 > numbers.size() || numbers[k] < 0 || numbers[k] >= (int64_t)variables.size())
                fail("the plan records a state that this program does not have");
            Channel channel = {variables[numbers[k]], numbers[k + 1], first + (int64_t)channels.size(),
                               numbers[k + 2] < 0, {}, {}};
            const int64_t n = channel.all ? 0 : numbers[k + 2];
            k += 3;
            if (k + n > numbers.size())
                fail("the plan records elements that it does not name");
            channel.elements.assign(numbers.begin() + k, numbers.begin() + k + n);
            for (const int64_t element : channel.elements)
                if (element < 0 || element >= channel.variable.size)
                    fail("the plan records an element that " + channel.variable.owner + " does not have");
            k += n;
            channels.push_back(channel);
        }
    }

    bool recorded() const { return !channels.empty(); }

    // At the start of a step, counted from the end of the warm-up.
    void take(int64_t step, Recorder& recorder)
    {
        for (Channel& channel : channels)
            if (channel.every && step >= 0 && step % channel.every == 0)
                take(channel, recorder);
    }

    void end(Recorder& recorder)
    {
        for (Channel& channel : channels) {
            if (!channel.every)
                take(channel, recorder);
            flush(channel, recorder);
        }
    }

    template <typename Stimulus>
    void check(int64_t step, int64_t warmup, double dt, Stimulus stimulus) const
    {
        for (const Variable& own : variables) {
            if (own.limit <= 0)
                continue;
            const uint64_t limit = to_bits(own.limit);
            const int64_t number = own.size * own.replicas;
            int64_t beyond = 0;
            for (int64_t k = 0; k < number; k++)
                beyond += !is_within(own.values[k], limit);
            if (!beyond)
                continue;
            int64_t k = 0;
            while (is_within(own.values[k], limit))
                k++;
            std::ostringstream text;
            text << "the equations blow up: " << own.name << " of neuron " << k % own.size << " of '" << own.owner
                 << "' is " << own.values[k] << " (SI units) " << (step + 1 - warmup) * dt * 1e3
                 << " ms after the warm-up, stimulus " << stimulus(k / own.size)
                 << ". Try a smaller dt, another method of integration, or other parameters";
            fail(text.str());
        }
    }
};

}  // namespace mnnbio

#endif
