// The loop of the program: presentations (stimulus, trial) one batch after another, each from rest.
// What is declared here is compiled once for all programs (presentations.cpp).
#ifndef MNNBIO_PRESENTATIONS_H
#define MNNBIO_PRESENTATIONS_H

#include <chrono>
#include <cstdint>
#include <functional>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "recording.h"
#include "states.h"

namespace mnnbio {

// Where a run finds its input and leaves its spikes.
struct Job {
    std::vector<std::string> inputs;  // folders; a file is taken from the first that holds it
    std::string plan = "plan.bin", spikes = "spikes.bin";
    bool supervised = false;  // whether to end when standard input is closed, as it is when its writer ends
};

Job take_job(std::vector<std::string>& args);

class Presentations
{
    struct Presentation {
        int64_t stimulus, key;
    };

    typedef void (*Code)();

    Job job;
    int64_t n_steps = 0, replicas, n_batches = 0;
    std::vector<Presentation> plan;
    Recorder recorder;
    States states;
    int64_t n_warmup = 0;
    bool carried = false;  // whether what changes in a presentation is carried on to the next one
    std::vector<std::function<void(const Presentation*)>> starts;
    std::vector<std::function<void(int64_t)>> courses;  // what changes in time: told the step
    std::vector<std::pair<Code, std::function<void()>>> inserted;  // in front of which code of the network, and what
    std::set<Code> left_out;  // code of the network that something inserted replaces
    int64_t now = 0, done = 0;
    std::chrono::steady_clock::time_point reported = std::chrono::steady_clock::now();

    std::string input(const std::string& name) const;
    void supervise() const;
    void report();
    void read_plan();
    std::vector<std::function<void()>> ordered(const std::vector<Code>& code) const;
    void run(const std::vector<Code>& code, int64_t& timestep, double& t, double dt);
    void at_start(const std::function<void()>& what);

public:
    Presentations(const Job& job, int64_t replicas);
    ~Presentations();

    // A parameter: each of its copies gets the row of its replica's stimulus, or the only row.
    // With `again` it is loaded at the start of every presentation, because it changes in one.
    template <typename T>
    void parameter(const std::string& name, T* values, int64_t width, int64_t copies, bool again = false);

    // Who is connected to whom, the same in every replica: how many synapses each source has, and their targets.
    void synapses(const std::string& name, std::vector<int32_t>& pre, std::vector<int32_t>& post, int32_t& number,
                  int64_t n_source, int64_t n_target);

    // A variable that changes in time.
    void course(const std::string& name, double* values, int64_t size);

    // A state variable and the value that it starts from.
    template <typename T> void state(T* values, int64_t size, T start);

    // The queues of Brian2's own pathways: spikes under way are forgotten at the start of a presentation.
    template <typename Queues> void queue(Queues& pathway)
    {
        at_start([&pathway]() {
            for (auto* own : pathway.queue)
                for (auto& slot : own->queue)
                    slot.clear();
        });
    }

    // Delays of Brian2's own pathway, s, from a file of steps: one for all, or one for each synapse of a replica.
    void delay(const std::string& name, double* values, int64_t copies, double dt);

    // A state variable that can be recorded, (replicas, size), and how large it may become; 0: it is not watched.
    void recordable(const std::string& name, const std::string& owner, const double* values, int64_t size,
                    double limit);

    // A source whose spikes are given, in place of the code that would find them.
    void playback(const std::string& name, int32_t* spikes, int64_t size, Code instead_of);

    void streams(int64_t* values, int64_t width, int64_t salt);

    // Poisson sources, which fire in place of the first of some code of the network; the rest of it is left out.
    void sources(int64_t size, int32_t* spikes, int32_t* next_spike, const int64_t* stream, const double* gap_scale,
                 const double* kept, const std::vector<Code>& instead_of);

    // Random numbers of all elements of a group, drawn in every step in front of some code of the network.
    void normal_draws(double* values, const int64_t* stream, int64_t size, int64_t every, int64_t offset, Code before);

    void poisson_draws(double* values, const int64_t* stream, const double* quiet, int64_t size, int64_t every,
                       int64_t offset, Code before);

    // A group of neurons: its spikes can be recorded. Groups are added in the order of the plan's channels.
    void neurons(const int32_t* spikes, int64_t size);

    // Synapses that add their weights to `values` of their targets, in every step in front of some code of the network;
    // where there is `open`, only to targets for which it is true.
    void pathway(const std::string& name, bool shared, int64_t n_source, int64_t n_target, const int32_t* spikes,
                 double* values, const char* open, Code before);

    // Products that targets hold, formed in every step in front of some code of the network.
    void product(const std::string& name, int64_t n_source, int64_t n_target, const double* source, double* values,
                 Code before);

    template <typename Network, typename Clock> void run(Network& network, Clock& clock)
    {
        std::vector<Code> code;
        for (const auto& object : network.objects)
            code.push_back(object.second);
        run(code, *clock.timestep, *clock.t, *clock.dt);
    }
};

}  // namespace mnnbio

#endif
