// The loop of the program: presentations (stimulus, trial) one batch after another, each from rest.
#ifndef MNNBIO_PRESENTATIONS_H
#define MNNBIO_PRESENTATIONS_H

#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <fstream>
#include <functional>
#include <iostream>
#include <memory>
#include <string>
#include <vector>

#include "streams.h"

namespace mnnbio {

[[noreturn]] inline void fail(const std::string& message)
{
    std::cerr << "error: " << message << std::endl;
    std::exit(1);
}

// Where a run finds its input and leaves its spikes.
struct Job {
    std::string inputs = "inputs", plan = "plan.bin", spikes = "spikes.bin";
};

inline Job take_job(std::vector<std::string>& args)
{
    Job job;
    for (size_t k = 0; k < args.size(); k += 2) {
        if (k + 1 == args.size())
            fail("no value for the option " + args[k]);
        if (args[k] == "--inputs")
            job.inputs = args[k + 1];
        else if (args[k] == "--plan")
            job.plan = args[k + 1];
        else if (args[k] == "--spikes")
            job.spikes = args[k + 1];
        else
            fail("unknown option " + args[k] + "; there are --inputs FOLDER, --plan FILE and --spikes FILE");
    }
    args.clear();
    return job;
}

template <typename T> std::vector<T> read_file(const std::string& path)
{
    std::ifstream file(path, std::ios::binary | std::ios::ate);
    if (!file)
        fail("cannot open " + path);
    const std::streamsize size = file.tellg();
    std::vector<T> values(size / sizeof(T));
    file.seekg(0);
    file.read(reinterpret_cast<char*>(values.data()), size);
    if (!file || size % sizeof(T) != 0)
        fail("cannot read " + path);
    return values;
}

class Presentations
{
    struct Presentation {
        int64_t stimulus, key;
    };

    Job job;
    int64_t n_steps, replicas, n_batches;
    std::vector<Presentation> plan;
    std::ofstream spikes;
    std::vector<std::function<void(const Presentation*)>> starts;
    std::vector<std::function<void()>> ends;
    int64_t done = 0;
    std::chrono::steady_clock::time_point reported = std::chrono::steady_clock::now();

    void report()
    {
        const auto now = std::chrono::steady_clock::now();
        if (now - reported < std::chrono::milliseconds(200))
            return;
        reported = now;
        std::cout << "steps " << done << " of " << n_steps * n_batches << std::endl;
    }

public:
    Presentations(const Job& job, int64_t replicas) : job(job), replicas(replicas)
    {
        const std::vector<int64_t> numbers = read_file<int64_t>(job.plan);
        if (numbers.size() < 3 || numbers[1] != replicas || (int64_t)numbers.size() != 3 + 2 * replicas * numbers[2])
            fail(job.plan + " is not a plan for this program");
        n_steps = numbers[0];
        n_batches = numbers[2];
        for (size_t k = 3; k < numbers.size(); k += 2)
            plan.push_back({numbers[k], numbers[k + 1]});
        spikes.open(job.spikes, std::ios::binary);
        if (!spikes)
            fail("cannot write " + job.spikes);
    }

    // A parameter: each replica gets the row of its stimulus, or the only row.
    template <typename T> void parameter(const std::string& name, T* values, int64_t width)
    {
        const auto table = std::make_shared<std::vector<T>>(read_file<T>(job.inputs + "/" + name));
        const int64_t rows = width ? table->size() / width : 1;
        if (rows < 1 || rows * width != (int64_t)table->size())
            fail("the size of " + job.inputs + "/" + name + " is not a multiple of " + std::to_string(width));
        bool fresh = true;
        starts.push_back([=](const Presentation* batch) mutable {
            if (rows == 1 && !fresh)
                return;
            fresh = false;
            for (int64_t r = 0; r < replicas; r++) {
                const int64_t row = rows == 1 ? 0 : batch[r].stimulus;
                if (row >= rows)
                    fail("no stimulus " + std::to_string(row) + " in " + name);
                std::copy(table->begin() + row * width, table->begin() + (row + 1) * width, values + r * width);
            }
        });
    }

    // A state variable and the value that it starts from.
    template <typename T> void state(T* values, int64_t size, T start)
    {
        starts.push_back([=](const Presentation*) { std::fill(values, values + size, start); });
    }

    void streams(int64_t* values, int64_t width, int64_t salt)
    {
        starts.push_back([=](const Presentation* batch) {
            for (int64_t r = 0; r < replicas; r++)
                for (int64_t k = 0; k < width; k++)
                    values[r * width + k] = stream_of(batch[r].key, salt, k);
        });
    }

    void first_spikes(int32_t* next_spike, const int64_t* stream, const double* gap_scale, int64_t size)
    {
        starts.push_back([=](const Presentation*) {
            for (int64_t k = 0; k < size; k++)
                next_spike[k] = bernoulli_gap(stream[k], 0, gap_scale[k]) - 1;
        });
    }

    template <typename Pathway> void queue(Pathway& pathway)
    {
        starts.push_back([&pathway](const Presentation*) {
            for (auto* queue : pathway.queue)
                for (auto& slot : queue->queue)
                    slot.clear();
        });
    }

    void record(std::vector<int32_t>& index, std::vector<double>& time, const double& dt)
    {
        starts.push_back([&index, &time](const Presentation*) {
            index.clear();
            time.clear();
        });
        ends.push_back([this, &index, &time, &dt]() {
            const int64_t number = index.size();
            std::vector<int32_t> step(number);
            for (int64_t k = 0; k < number; k++)
                step[k] = (int32_t)(time[k] / dt + 0.5);
            spikes.write(reinterpret_cast<const char*>(&number), sizeof(number));
            spikes.write(reinterpret_cast<const char*>(index.data()), number * sizeof(int32_t));
            spikes.write(reinterpret_cast<const char*>(step.data()), number * sizeof(int32_t));
        });
    }

    template <typename Network, typename Clock> void run(Network& network, Clock& clock)
    {
        for (int64_t b = 0; b < n_batches; b++) {
            for (auto& start : starts)
                start(&plan[b * replicas]);
            for (int64_t step = 0; step < n_steps; step++) {
                clock.timestep[0] = step;
                clock.t[0] = step * clock.dt[0];
                for (auto& object : network.objects)
                    object.second();
                done++;
                if ((done & 255) == 0)
                    report();
            }
            for (auto& end : ends)
                end();
        }
        spikes.close();
        if (!spikes)
            fail("cannot write " + job.spikes + "; is the disk full?");
        std::cout << "spikes are in " << job.spikes << std::endl;
    }
};

}  // namespace mnnbio

#endif
