// What is kept of the spikes: all of them, or counts in bins of steps. Both go to a file in blocks, so that memory stays
// bounded however long a run is. recorded.py reads the file.
#ifndef MNNBIO_RECORDING_H
#define MNNBIO_RECORDING_H

#include <cstdint>
#include <fstream>
#include <string>
#include <vector>

#include "failure.h"

namespace mnnbio {

class Recorder
{
    static const size_t full = 1 << 16;  // entries after which a buffer is written

    struct Channel {
        const int32_t* spikes;  // the elements that fired in the step, and at [elements] how many they are
        int64_t elements, size;
        int64_t bin = -1;  // steps; 0: every spike, -1: nothing
        bool pooled = false;
        std::vector<int32_t> current, first, second;  // the open bin; elements and steps of spikes, or complete bins
    };

    std::string path;
    std::ofstream file;
    std::vector<Channel> channels;
    int64_t warmup = 0;

    void write(const void* data, size_t size)
    {
        file.write(static_cast<const char*>(data), size);
        if (!file)
            fail("cannot write " + path + "; is the disk full?");
    }

    void flush(int64_t number)
    {
        Channel& channel = channels[number];
        const int64_t header[2] = {number, (int64_t)channel.first.size()};
        if (!header[1])
            return;
        write(header, sizeof(header));
        for (auto* values : {&channel.first, &channel.second}) {
            write(values->data(), values->size() * sizeof(int32_t));
            values->clear();
        }
    }

    void take_spikes(Channel& channel, int64_t number, int64_t step)
    {
        const int32_t n = channel.spikes[channel.elements];
        channel.first.insert(channel.first.end(), channel.spikes, channel.spikes + n);
        channel.second.insert(channel.second.end(), n, (int32_t)step);
        if (channel.first.size() >= full)
            flush(number);
    }

    void take_counts(Channel& channel, int64_t number, int64_t step)
    {
        const int32_t n = channel.spikes[channel.elements];
        for (int32_t k = 0; k < n; k++)
            channel.current[channel.pooled ? channel.spikes[k] / channel.size : channel.spikes[k]]++;
        if ((step - warmup + 1) % channel.bin == 0)
            close_bin(channel, number);
    }

    void close_bin(Channel& channel, int64_t number)
    {
        channel.first.insert(channel.first.end(), channel.current.begin(), channel.current.end());
        std::fill(channel.current.begin(), channel.current.end(), 0);
        if (channel.first.size() >= full)
            flush(number);
    }

public:
    // A block of numbers beside the spikes, of a channel number of its own.
    void write_block(int64_t number, const std::vector<double>& values)
    {
        const int64_t header[2] = {number, (int64_t)values.size()};
        write(header, sizeof(header));
        write(values.data(), values.size() * sizeof(double));
    }

    void add(const int32_t* spikes, int64_t elements, int64_t size)
    {
        Channel channel;
        channel.spikes = spikes;
        channel.elements = elements;
        channel.size = size;
        channels.push_back(channel);
    }

    size_t n_channels() const { return channels.size(); }

    // What the plan says: the warm-up in steps, and for every channel its bin and whether it is pooled.
    void open(const std::string& name, int64_t n_warmup, const std::vector<int64_t>& what)
    {
        path = name;
        warmup = n_warmup;
        file.open(path, std::ios::binary);
        if (!file)
            fail("cannot write " + path);
        for (size_t k = 0; k < channels.size(); k++) {
            channels[k].bin = what[2 * k];
            channels[k].pooled = what[2 * k + 1];
            if (channels[k].bin > 0)
                channels[k].current.assign(channels[k].elements / (channels[k].pooled ? channels[k].size : 1), 0);
        }
    }

    void take(int64_t step)
    {
        for (size_t k = 0; k < channels.size(); k++)
            if (channels[k].bin == 0)
                take_spikes(channels[k], k, step);
            else if (channels[k].bin > 0 && step >= warmup)
                take_counts(channels[k], k, step);
    }

    void end_batch(int64_t n_steps)
    {
        for (size_t k = 0; k < channels.size(); k++) {
            if (channels[k].bin > 0 && (n_steps - warmup) % channels[k].bin)
                close_bin(channels[k], k);
            flush(k);
        }
        const int64_t end[2] = {-1, 0};
        write(end, sizeof(end));
    }

    void close()
    {
        file.close();
        if (!file)
            fail("cannot write " + path + "; is the disk full?");
    }
};

}  // namespace mnnbio

#endif
