// Spikes on their way: every spike of a source element adds the weights of its synapses to its targets, after a delay.
// Topology and weights are read from files in place: processes and replicas share one copy.
#ifndef MNNBIO_SYNAPSES_H
#define MNNBIO_SYNAPSES_H

#include <algorithm>
#include <cstdint>
#include <numeric>
#include <string>
#include <vector>

#include "files.h"

namespace mnnbio {

// Some of the synapses of one source element.
struct Bundle {
    int32_t replica, number;
    int64_t first;
};

class Pathway
{
    const Mapped<int32_t> outgoing, targets, delays;
    const Mapped<double> weights;
    const int64_t replicas, n_source, n_target;
    const int32_t* const spikes;  // the source's elements that fired, and at [replicas * n_source] how many they are
    double* const values;         // of the targets
    const char* const open;       // whether a target takes input now; null: always

    int64_t n_synapses, n_weights;          // a row of weights has one for each synapse, or one for all
    bool dense;                             // every source element has a synapse of its own weight to every target
    std::vector<int64_t> first;             // synapse of every source element
    std::vector<int32_t> sorted;            // targets by delay within a source element, where delays differ
    std::vector<int64_t> original;          // number of each of them in the files
    std::vector<std::vector<Bundle>> stops; // by source element: bundles of equal delay; `replica` holds the delay
    std::vector<std::vector<Bundle>> ring;  // what arrives in the coming steps
    std::vector<int64_t> row;               // of every replica's weights
    std::vector<double> mask;               // 1 where `open`, else 0
    size_t now = 0;

    void check(const std::string& name) const
    {
        bool valid = (int64_t)outgoing.size() == n_source && n_synapses == (int64_t)targets.size();
        for (const int32_t target : targets)
            valid = valid && target >= 0 && target < n_target;
        if (!valid)
            fail("the synapses " + name + " are not between " + std::to_string(n_source) + " sources and "
                 + std::to_string(n_target) + " targets");
        if (delays.size() != 1 && delays.size() != targets.size())
            fail("the synapses " + name + " have " + std::to_string(delays.size()) + " delays, not 1 or "
                 + std::to_string(n_synapses));
        if (n_weights && weights.size() % n_weights)
            fail("the synapses " + name + " have " + std::to_string(weights.size()) + " weights, not a multiple of "
                 + std::to_string(n_weights));
    }

    bool is_dense() const
    {
        if (n_synapses != n_source * n_target || n_weights != n_synapses || sorted.size())
            return false;
        for (int64_t k = 0; k < n_synapses; k++)
            if (targets[k] != k % n_target)
                return false;
        return true;
    }

    // Where delays differ: sort the synapses of each source element by delay, and note where each delay begins.
    void sort_by_delay()
    {
        original.resize(n_synapses);
        std::iota(original.begin(), original.end(), 0);
        stops.resize(n_source);
        for (int64_t i = 0; i < n_source; i++) {
            const auto begin = original.begin() + first[i], end = original.begin() + first[i + 1];
            std::stable_sort(begin, end, [this](int64_t a, int64_t b) { return delays[a] < delays[b]; });
            for (auto k = begin; k != end; k++) {
                if (k == begin || delays[*k] != delays[*(k - 1)])
                    stops[i].push_back({delays[*k], 0, k - original.begin()});
                stops[i].back().number++;
            }
        }
        sorted.resize(n_synapses);
        std::transform(original.begin(), original.end(), sorted.begin(), [this](int64_t k) { return targets[k]; });
    }

    template <bool Shared, bool Gated> void add(const Bundle& bundle)
    {
        double* const __restrict v = values + bundle.replica * n_target;
        const double* const __restrict m = mask.data() + (Gated ? bundle.replica * n_target : 0);
        const double* const __restrict w = weights.begin() + row[bundle.replica] * n_weights + (Shared ? 0 : bundle.first);
        const int32_t* const __restrict t = (sorted.size() ? sorted.data() : targets.begin()) + bundle.first;
        if (!Shared && sorted.size()) {
            const int64_t* const __restrict place = original.data() + bundle.first;
            for (int32_t k = 0; k < bundle.number; k++)
                v[t[k]] += w[place[k] - bundle.first] * (Gated ? m[t[k]] : 1.0);
            return;
        }
        for (int32_t k = 0; k < bundle.number; k++)
            v[t[k]] += (Shared ? *w : w[k]) * (Gated ? m[t[k]] : 1.0);
    }

    // Rows of a dense matrix that arrive at one replica, four at a time: the targets are read and written less often.
    template <bool Gated> void add_rows(const Bundle* bundle, const Bundle* end)
    {
        double* const __restrict v = values + bundle->replica * n_target;
        const double* const __restrict m = mask.data() + (Gated ? bundle->replica * n_target : 0);
        const double* const __restrict w = weights.begin() + row[bundle->replica] * n_weights;
        for (; end - bundle >= 4; bundle += 4) {
            const double *const a = w + bundle[0].first, *const b = w + bundle[1].first;
            const double *const c = w + bundle[2].first, *const d = w + bundle[3].first;
            for (int64_t k = 0; k < n_target; k++)
                v[k] += ((a[k] + b[k]) + (c[k] + d[k])) * (Gated ? m[k] : 1.0);
        }
        for (; bundle != end; bundle++) {
            const double* const a = w + bundle->first;
            for (int64_t k = 0; k < n_target; k++)
                v[k] += a[k] * (Gated ? m[k] : 1.0);
        }
    }

    template <bool Shared> void add(const Bundle& bundle)
    {
        open ? add<Shared, true>(bundle) : add<Shared, false>(bundle);
    }

    void add_all(const std::vector<Bundle>& arriving)
    {
        const Bundle *bundle = arriving.data(), *const end = bundle + arriving.size();
        while (bundle != end) {
            const Bundle* next = bundle + 1;
            if (dense) {
                while (next != end && next->replica == bundle->replica)
                    next++;
                open ? add_rows<true>(bundle, next) : add_rows<false>(bundle, next);
            } else {
                n_weights == 1 ? add<true>(*bundle) : add<false>(*bundle);
            }
            bundle = next;
        }
    }

    void send(int32_t replica, int64_t i)
    {
        if (stops.empty()) {
            ring[(now + delays[0]) % ring.size()].push_back({replica, outgoing[i], first[i]});
            return;
        }
        for (const Bundle& stop : stops[i])
            ring[(now + stop.replica) % ring.size()].push_back({replica, stop.number, stop.first});
    }

public:
    // `path` finds a file by its name; a weight file without numbers for each synapse has one for all.
    template <typename Path>
    Pathway(const std::string& name, const Path& path, bool shared, int64_t replicas, int64_t n_source, int64_t n_target,
            const int32_t* spikes, double* values, const char* open)
        : outgoing(path(name + ".outgoing")), targets(path(name + ".targets")), delays(path(name + ".delay")),
          weights(path(name + ".w_syn")), replicas(replicas), n_source(n_source), n_target(n_target), spikes(spikes),
          values(values), open(open), first(1, 0), row(replicas, 0), mask(open ? replicas * n_target : 0)
    {
        for (const int32_t n : outgoing)
            first.push_back(first.back() + n);
        n_synapses = first.back();
        n_weights = shared ? 1 : n_synapses;
        check(name);
        const int32_t longest = delays.size() ? *std::max_element(delays.begin(), delays.end()) : 0;
        if (delays.size() > 1 && *std::min_element(delays.begin(), delays.end()) != longest)
            sort_by_delay();
        dense = is_dense();
        ring.resize(longest + 1);
    }

    // Forget all spikes under way; `stimulus` tells the stimulus of each replica.
    template <typename Stimulus> void start(const Stimulus& stimulus)
    {
        for (auto& slot : ring)
            slot.clear();
        const int64_t rows = n_weights ? weights.size() / n_weights : 1;
        for (int64_t r = 0; r < replicas; r++) {
            row[r] = rows > 1 ? stimulus(r) : 0;
            if (row[r] >= rows)
                fail("no weights for stimulus " + std::to_string(row[r]));
        }
    }

    void step()
    {
        const int32_t number = n_synapses ? spikes[replicas * n_source] : 0;
        int32_t replica = 0;
        for (int32_t k = 0; k < number; k++) {  // the elements that fired are sorted
            while (spikes[k] >= (replica + 1) * n_source)
                replica++;
            send(replica, spikes[k] - replica * n_source);
        }
        auto& arriving = ring[now];
        if (!arriving.empty() && open)
            std::copy(open, open + mask.size(), mask.begin());
        add_all(arriving);
        arriving.clear();
        now = (now + 1) % ring.size();
    }
};

}  // namespace mnnbio

#endif
