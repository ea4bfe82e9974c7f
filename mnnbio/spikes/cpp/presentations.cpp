// The part of a program that no circuit changes, compiled once for all of them.
#include "presentations.h"

#include <poll.h>

#include <algorithm>
#include <cstdlib>
#include <fstream>
#include <iostream>
#include <memory>

#include "courses.h"
#include "draws.h"
#include "failure.h"
#include "files.h"
#include "products.h"
#include "sources.h"
#include "streams.h"
#include "synapses.h"

namespace mnnbio {

Job take_job(std::vector<std::string>& args)
{
    Job job;
    if (args.size() == 1 && args[0] == "--check")
        std::exit(0);  // the program can be started
    for (size_t k = 0; k < args.size(); k += 2) {
        if (k + 1 == args.size())
            fail("no value for the option " + args[k]);
        if (args[k] == "--inputs")
            job.inputs.push_back(args[k + 1]);
        else if (args[k] == "--plan")
            job.plan = args[k + 1];
        else if (args[k] == "--spikes")
            job.spikes = args[k + 1];
        else if (args[k] == "--until" && args[k + 1] == "end-of-input")
            job.supervised = true;
        else
            fail("unknown option " + args[k]
                 + "; there are --inputs FOLDER, --plan FILE, --spikes FILE and --until end-of-input");
    }
    if (job.inputs.empty())
        job.inputs.push_back("inputs");
    args.clear();
    return job;
}

Presentations::Presentations(const Job& job, int64_t replicas) : job(job), replicas(replicas) {}

Presentations::~Presentations() {}

void Presentations::at_start(const std::function<void()>& what)
{
    starts.push_back([what](const Presentation*) { what(); });
}

std::string Presentations::input(const std::string& name) const
{
    for (const std::string& folder : job.inputs)
        if (std::ifstream(folder + "/" + name))
            return folder + "/" + name;
    fail("cannot open " + job.inputs.back() + "/" + name);
}

void Presentations::supervise() const
{
    pollfd in = {0, POLLIN, 0};
    if (poll(&in, 1, 0) > 0 && (in.revents & (POLLHUP | POLLERR | POLLNVAL)))
        fail("whoever started this program has ended");
}

void Presentations::report()
{
    const auto now = std::chrono::steady_clock::now();
    if (now - reported < std::chrono::milliseconds(200))
        return;
    reported = now;
    if (job.supervised)
        supervise();
    std::cout << "steps " << done << " of " << n_steps * n_batches << std::endl;
}

template <typename T>
void Presentations::parameter(const std::string& name, T* values, int64_t width, int64_t copies, bool again)
{
    if (!width)
        return;
    const std::string path = input(name);
    const auto table = std::make_shared<std::vector<T>>(read_file<T>(path));
    const int64_t rows = table->size() / width;
    if (rows < 1 || rows * width != (int64_t)table->size() || (rows > 1 && copies != replicas))
        fail(path + " holds " + std::to_string(table->size()) + " numbers, not " + std::to_string(width)
             + " for each stimulus");
    if (rows == 1 && !again) {
        for (int64_t r = 0; r < copies; r++)
            std::copy(table->begin(), table->end(), values + r * width);
        return;
    }
    starts.push_back([=](const Presentation* batch) {
        if (again && carried && batch != plan.data())
            return;
        for (int64_t r = 0; r < copies; r++) {
            const int64_t row = rows == 1 ? 0 : batch[r].stimulus;
            if (row >= rows)
                fail("no stimulus " + std::to_string(row) + " in " + path);
            std::copy(table->begin() + row * width, table->begin() + (row + 1) * width, values + r * width);
        }
    });
}
template void Presentations::parameter(const std::string&, double*, int64_t, int64_t, bool);
template void Presentations::parameter(const std::string&, int32_t*, int64_t, int64_t, bool);
template void Presentations::parameter(const std::string&, int64_t*, int64_t, int64_t, bool);
template void Presentations::parameter(const std::string&, char*, int64_t, int64_t, bool);

void Presentations::synapses(const std::string& name, std::vector<int32_t>& pre, std::vector<int32_t>& post,
                             int32_t& number, int64_t n_source, int64_t n_target)
{
    const std::vector<int32_t> outgoing = read_file<int32_t>(input(name + ".outgoing"));
    const std::vector<int32_t> targets = read_file<int32_t>(input(name + ".targets"));
    int64_t sum = 0;
    for (const int32_t n : outgoing)
        sum += n;
    bool valid = (int64_t)outgoing.size() == n_source && sum == (int64_t)targets.size();
    for (const int32_t target : targets)
        valid = valid && target >= 0 && target < n_target;
    if (!valid)
        fail("the synapses in " + input(name + ".targets") + " are not between " + std::to_string(n_source)
             + " sources and " + std::to_string(n_target) + " targets");
    number = (int32_t)(sum * replicas);
    pre.resize(number);
    post.resize(number);
    int64_t k = 0;
    for (int64_t r = 0; r < replicas; r++) {
        for (int64_t i = 0; i < n_source; i++, k += outgoing[i - 1])
            std::fill_n(pre.begin() + k, outgoing[i], (int32_t)(r * n_source + i));
        std::transform(targets.begin(), targets.end(), post.begin() + r * sum,
                       [=](int32_t target) { return (int32_t)(r * n_target + target); });
    }
}

void Presentations::course(const std::string& name, double* values, int64_t size)
{
    const auto own = std::make_shared<Course>(input(name), values, size, replicas);
    starts.push_back([=](const Presentation* batch) {
        if (own->n_steps() != n_steps)
            fail("the course of " + name + " has " + std::to_string(own->n_steps()) + " steps, not "
                 + std::to_string(n_steps));
        own->start([batch](int64_t replica) { return batch[replica].stimulus; });
    });
    courses.push_back([own](int64_t step) { own->step(step); });
}

template <typename T> void Presentations::state(T* values, int64_t size, T start)
{
    starts.push_back([=](const Presentation*) { std::fill(values, values + size, start); });
}
template void Presentations::state(double*, int64_t, double);
template void Presentations::state(int32_t*, int64_t, int32_t);
template void Presentations::state(int64_t*, int64_t, int64_t);
template void Presentations::state(char*, int64_t, char);

void Presentations::delay(const std::string& name, double* values, int64_t copies, double dt)
{
    const std::vector<int32_t> steps = read_file<int32_t>(input(name + ".delay"));
    for (int64_t r = 0; r < copies; r++)
        for (size_t k = 0; k < steps.size(); k++)
            values[r * steps.size() + k] = steps[k] * dt;
}

void Presentations::recordable(const std::string& name, const std::string& owner, const double* values, int64_t size,
                               double limit)
{
    states.add(name, owner, values, size, replicas, limit);
}

void Presentations::playback(const std::string& name, int32_t* spikes, int64_t size, Code instead_of)
{
    const auto own = std::make_shared<Playback>(input(name + ".stops"), input(name + ".steps"),
                                                input(name + ".elements"), spikes, size, replicas);
    starts.push_back([this, own](const Presentation* batch) {
        own->start([batch](int64_t replica) { return batch[replica].stimulus; }, n_warmup);
    });
    inserted.emplace_back(instead_of, [this, own]() { own->step(now); });
    left_out.insert(instead_of);
}

void Presentations::streams(int64_t* values, int64_t width, int64_t salt)
{
    starts.push_back([=](const Presentation* batch) {
        for (int64_t r = 0; r < replicas; r++)
            for (int64_t k = 0; k < width; k++)
                values[r * width + k] = stream_of(batch[r].key, salt, k);
    });
}

void Presentations::sources(int64_t size, int32_t* spikes, int32_t* next_spike, const int64_t* stream,
                            const double* gap_scale, const double* kept, const std::vector<Code>& instead_of)
{
    const auto own = std::make_shared<Sources>(size, spikes, next_spike, stream, gap_scale, kept);
    starts.push_back([own](const Presentation*) { own->start(); });
    inserted.emplace_back(instead_of.front(), [this, own]() { own->step(now); });
    left_out.insert(instead_of.begin(), instead_of.end());
}

void Presentations::normal_draws(double* values, const int64_t* stream, int64_t size, int64_t every, int64_t offset,
                                 Code before)
{
    inserted.emplace_back(before, [=]() { mnnbio::normal_draws(values, stream, size, every * now + offset); });
}

void Presentations::poisson_draws(double* values, const int64_t* stream, const double* quiet, int64_t size,
                                  int64_t every, int64_t offset, Code before)
{
    inserted.emplace_back(before, [=]() { mnnbio::poisson_draws(values, stream, quiet, size, every * now + offset); });
}

void Presentations::neurons(const int32_t* spikes, int64_t size) { recorder.add(spikes, replicas * size, size); }

void Presentations::pathway(const std::string& name, bool shared, int64_t n_source, int64_t n_target,
                            const int32_t* spikes, double* values, const char* open, Code before)
{
    const auto path = [this](const std::string& file) { return input(file); };
    const auto own = std::make_shared<Pathway>(name, path, shared, replicas, n_source, n_target, spikes, values, open);
    starts.push_back([own](const Presentation* batch) {
        own->start([batch](int64_t replica) { return batch[replica].stimulus; });
    });
    inserted.emplace_back(before, [own]() { own->step(); });
}

void Presentations::product(const std::string& name, int64_t n_source, int64_t n_target, const double* source,
                            double* values, Code before)
{
    const auto own = std::make_shared<Product>(input(name), replicas, n_source, n_target, source, values);
    starts.push_back([own](const Presentation* batch) {
        own->start([batch](int64_t replica) { return batch[replica].stimulus; });
    });
    inserted.emplace_back(before, [own]() { own->step(); });
}

// steps, warm-up, replicas, batches, channels, whether weights are carried on, numbers about states; of every channel
// what it keeps; of every recorded state what and when (`states.h`); stimulus and key of every replica.
void Presentations::read_plan()
{
    const std::vector<int64_t> numbers = read_file<int64_t>(job.plan);
    const int64_t n_channels = recorder.n_channels(), kept = 7 + 2 * n_channels;
    const int64_t head = numbers.size() > 6 ? kept + numbers[6] : 0;
    if ((int64_t)numbers.size() < kept || numbers[2] != replicas || numbers[4] != n_channels
        || (int64_t)numbers.size() != head + 2 * replicas * numbers[3])
        fail(job.plan + " is not a plan for this program");
    n_steps = numbers[0];
    n_warmup = numbers[1];
    n_batches = numbers[3];
    carried = numbers[5];
    for (size_t k = head; k < numbers.size(); k += 2)
        plan.push_back({numbers[k], numbers[k + 1]});
    recorder.open(job.spikes, n_warmup, {numbers.begin() + 7, numbers.begin() + kept});
    states.choose({numbers.begin() + kept, numbers.begin() + head}, n_channels);
}

std::vector<std::function<void()>> Presentations::ordered(const std::vector<Code>& code) const
{
    std::vector<std::function<void()>> all;
    for (const Code own : code) {
        for (const auto& item : inserted)
            if (item.first == own)
                all.push_back(item.second);
        if (!left_out.count(own))
            all.push_back(own);
    }
    return all;
}

void Presentations::run(const std::vector<Code>& code, int64_t& timestep, double& t, double dt)
{
    read_plan();
    const auto objects = ordered(code);
    for (int64_t b = 0; b < n_batches; b++) {
        for (auto& start : starts)
            start(&plan[b * replicas]);
        for (int64_t step = 0; step < n_steps; step++) {
            now = timestep = step;
            t = step * dt;
            for (const auto& course : courses)
                course(step);
            if (states.recorded())
                states.take(step - n_warmup, recorder);
            for (const auto& object : objects)
                object();
            recorder.take(step);
            if ((step & 127) == 127 || step + 1 == n_steps)
                states.check(step, n_warmup, dt, [&](int64_t r) { return plan[b * replicas + r].stimulus; });
            done++;
            if ((done & 15) == 0)
                report();
        }
        if (states.recorded())
            states.end(recorder);
        recorder.end_batch(n_steps);
    }
    recorder.close();
    std::cout << "spikes are in " << job.spikes << std::endl;
}

}  // namespace mnnbio
