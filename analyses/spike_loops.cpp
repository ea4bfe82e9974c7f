// Loops over spikes and over pairs of spike trains that NumPy cannot do without large intermediate arrays.
//
// Trains lie in one flat array, ascending within a train; `start[k]` is the place of the first spike of train k, and
// `start[rows]` the number of spikes. Pairs are given as their two trains. Every function writes into arrays of the
// caller; analyses/spike_loops.py holds the same in NumPy.

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <vector>

using Int = std::int64_t;

namespace {

// Intervals and their neighbours within one train; `each` is called with every interval, `pair` with two that touch.
template <class Each, class Pair>
inline void walk(const double* t, Int begin, Int end, Each each, Pair pair) {
    double before = 0;
    for (Int k = begin + 1; k < end; ++k) {
        const double interval = t[k] - t[k - 1];
        each(interval);
        if (k > begin + 1) pair(before, interval, k > begin + 2);
        before = interval;
    }
}

struct Local {
    double cv2, lv, lvr;
};

inline Local local(double a, double b, double refractory) {
    const double sum = a + b;
    if (sum <= 0) return {0, 0, 0};
    const double inverse = 1 / sum, contrast = (b - a) * inverse;
    return {2 * std::fabs(contrast), 3 * contrast * contrast,
            3 * contrast * contrast * (1 + 4 * refractory * inverse)};
}

// Intervals around the times of a train for distances of Kreuz: of event e (0 before the first spike) how long its
// interval is. A train without spikes is one interval as long as the recording.
struct Train {
    const double* t;
    Int n;
    double begin, end;
    double first() const { return n > 1 ? std::max(t[0] - begin, t[1] - t[0]) : t[0] - begin; }
    double last() const { return n > 1 ? std::max(end - t[n - 1], t[n - 1] - t[n - 2]) : end - t[n - 1]; }
    double interval(Int passed) const {
        if (n == 0) return end - begin;
        if (passed == 0) return first();
        return passed == n ? last() : t[passed] - t[passed - 1];
    }
    double before() const { return n > 1 ? std::min(begin, t[0] - (t[1] - t[0])) : begin; }
    double after() const { return n > 1 ? std::max(end, t[n - 1] + (t[n - 1] - t[n - 2])) : end; }
};

// Distance of every spike of x from the nearest of y, auxiliary spikes before and after y included.
void nearest(const Train& x, const Train& y, std::vector<double>& out) {
    out.resize(x.n);
    const double low = y.before(), high = y.after();
    Int j = 0;
    for (Int k = 0; k < x.n; ++k) {
        while (j < y.n && y.t[j] < x.t[k]) ++j;
        const double left = j > 0 ? y.t[j - 1] : low, right = j < y.n ? y.t[j] : high;
        double d = std::min(std::fabs(x.t[k] - left), std::fabs(right - x.t[k]));
        out[k] = std::min(d, std::min(std::fabs(x.t[k] - low), std::fabs(high - x.t[k])));
    }
}

// Dissimilarity of x at a time after `passed` of its spikes.
inline double profile(const Train& x, const std::vector<double>& d, Int passed, double time) {
    if (passed == 0) return d[0];
    if (passed == x.n) return d[x.n - 1];
    const double a = x.t[passed - 1], b = x.t[passed], length = b - a;
    return length > 0 ? (d[passed - 1] * (b - time) + d[passed] * (time - a)) / length : d[passed];
}

// Automaton of all parts of a binary row: which part ends where it ends first. (Blumer et al. 1985, Theor. Comput. Sci. 40.)
struct Parts {
    struct State {
        std::int32_t next[2], link, length, first;
    };
    std::vector<State> states;
    std::int32_t last = 0;

    explicit Parts(Int n) {
        states.reserve(2 * n + 2);
        states.push_back({{-1, -1}, -1, 0, -1});
    }
    void add(int c, std::int32_t place) {
        const auto current = std::int32_t(states.size());
        states.push_back({{-1, -1}, 0, states[last].length + 1, place});
        auto p = last;
        for (; p >= 0 && states[p].next[c] < 0; p = states[p].link) states[p].next[c] = current;
        if (p >= 0) {
            const auto q = states[p].next[c];
            if (states[p].length + 1 == states[q].length) {
                states[current].link = q;
            } else {
                const auto copy = std::int32_t(states.size());
                states.push_back(states[q]);
                states[copy].length = states[p].length + 1;
                for (; p >= 0 && states[p].next[c] == q; p = states[p].link) states[p].next[c] = copy;
                states[q].link = states[current].link = copy;
            }
        }
        last = current;
    }
};

}  // namespace

extern "C" {

// Per unit: intervals, mean, sums of powers 2 to 4 of their deviations, pairs of intervals, and of each of CV2, LV and
// LvR the mean, the sum of squared deviations, and of products of deviations of pairs that share an interval.
void interval_moments(Int rows, Int units, const double* t, const Int* start, const Int* unit, double refractory,
                      double* out) {
    const Int width = 15;
    for (Int r = 0; r < rows; ++r) {
        double* own = out + unit[r] * width;
        double n = 0, sum = 0, pairs = 0, a = 0, b = 0, c = 0;
        walk(t, start[r], start[r + 1], [&](double i) { n += 1; sum += i; },
             [&](double x, double y, bool) {
                 const Local l = local(x, y, refractory);
                 pairs += 1, a += l.cv2, b += l.lv, c += l.lvr;
             });
        own[0] += n, own[1] += sum, own[5] += pairs, own[6] += a, own[9] += b, own[12] += c;
    }
    for (Int u = 0; u < units; ++u) {
        double* own = out + u * width;
        if (own[0] > 0) own[1] /= own[0];
        for (Int k = 6; k < width && own[5] > 0; k += 3) own[k] /= own[5];
    }
    for (Int r = 0; r < rows; ++r) {
        double* own = out + unit[r] * width;
        const double mean = own[1], means[3] = {own[6], own[9], own[12]};
        double m2 = 0, m3 = 0, m4 = 0, square[3] = {0, 0, 0}, shared[3] = {0, 0, 0}, before[3] = {0, 0, 0};
        walk(t, start[r], start[r + 1],
             [&](double i) {
                 const double d = i - mean, q = d * d;
                 m2 += q, m3 += q * d, m4 += q * q;
             },
             [&](double x, double y, bool follows) {
                 const Local l = local(x, y, refractory);
                 const double d[3] = {l.cv2 - means[0], l.lv - means[1], l.lvr - means[2]};
                 for (int k = 0; k < 3; ++k) {
                     square[k] += d[k] * d[k];
                     if (follows) shared[k] += d[k] * before[k];
                     before[k] = d[k];
                 }
             });
        own[2] += m2, own[3] += m3, own[4] += m4;
        for (int k = 0; k < 3; ++k) own[7 + 3 * k] += square[k], own[8 + 3 * k] += shared[k];
    }
}

// Spikes of each train between neighbouring edges, (rows, parts).
void counts_between(Int rows, Int parts, const double* t, const Int* start, const double* edges, double* out) {
    for (Int r = 0; r < rows; ++r) {
        Int k = start[r];
        while (k < start[r + 1] && t[k] < edges[0]) ++k;
        for (Int p = 0; p < parts; ++p) {
            const Int first = k;
            while (k < start[r + 1] && t[k] < edges[p + 1]) ++k;
            out[r * parts + p] = double(k - first);
        }
    }
}

// Sums over bins of products of counts of all pairs of neurons: upper triangle of `out`, (neurons, neurons).
void count_products(Int rows, Int neurons, Int bins, const Int* place, const Int* start, const Int* neuron, double* out) {
    std::vector<Int> first(bins + 1, 0);
    const Int spikes = start[rows];
    for (Int k = 0; k < spikes; ++k) ++first[place[k] + 1];
    for (Int k = 0; k < bins; ++k) first[k + 1] += first[k];
    std::vector<std::int32_t> who(spikes);
    std::vector<Int> next(first.begin(), first.end() - 1);
    for (Int r = 0; r < rows; ++r)
        for (Int k = start[r]; k < start[r + 1]; ++k) who[next[place[k]]++] = static_cast<std::int32_t>(neuron[r]);
    for (Int b = 0; b < bins; ++b)
        for (Int p = first[b]; p < first[b + 1]; ++p) {
            double* own = out + who[p] * neurons;
            own[who[p]] += 1;
            for (Int q = p + 1; q < first[b + 1]; ++q) own[who[q]] += who[q] == who[p] ? 2 : 1;
        }
}

// Adds a kernel of 2 half + 1 points around the bin of every spike to the row of its train, cut at the ends.
void stamp(Int rows, Int bins, Int half, const Int* place, const Int* start, const Int* target, const double* kernel,
           double* out) {
    for (Int r = 0; r < rows; ++r) {
        double* own = out + target[r] * bins;
        for (Int k = start[r]; k < start[r + 1]; ++k) {
            const Int low = std::max<Int>(0, place[k] - half), high = std::min(bins - 1, place[k] + half);
            const double* from = kernel + half - place[k];
            for (Int b = low; b <= high; ++b) own[b] += from[b];
        }
    }
}

// Coincidences of pairs at lags of -reach to reach bins: place of the second train minus that of the first.
void correlograms(Int pairs, const Int* first, const Int* second, const Int* place, const Int* start, Int reach,
                  double* out) {
#pragma omp parallel for schedule(dynamic, 64)
    for (Int p = 0; p < pairs; ++p) {
        double* own = out + p * (2 * reach + 1) + reach;
        const Int last = start[second[p] + 1];
        Int low = start[second[p]];
        for (Int k = start[first[p]]; k < start[first[p] + 1]; ++k) {
            while (low < last && place[low] < place[k] - reach) ++low;
            for (Int q = low; q < last && place[q] <= place[k] + reach; ++q) own[place[q] - place[k]] += 1;
        }
    }
}

// Number of spikes of each train of a pair that lie within a window of any spike of the other, (pairs, 2).
void tiled_spikes(Int pairs, const Int* first, const Int* second, const double* t, const Int* start, double window,
                  double* out) {
#pragma omp parallel for schedule(dynamic, 64)
    for (Int p = 0; p < pairs; ++p)
        for (int side = 0; side < 2; ++side) {
            const Int x = side ? second[p] : first[p], y = side ? first[p] : second[p], last = start[y + 1];
            Int j = start[y], number = 0;
            for (Int k = start[x]; k < start[x + 1]; ++k) {
                while (j < last && t[k] - t[j] > window) ++j;
                if (j < last && t[j] - t[k] <= window) ++number;
            }
            out[2 * p + side] = static_cast<double>(number);
        }
}

// Sums over all spikes k, l of a pair of exp(-|t_k - t_l| / tau). `grow` and `shrink` are exp(±(t - begin of the
// segment of t) / tau), `decay` is exp(-segment / tau): no exponential is computed for a pair.
void exponential_products(Int pairs, const Int* first, const Int* second, const double* t, const double* grow,
                          const double* shrink, const Int* segment, double decay, const Int* start, double* out) {
#pragma omp parallel for schedule(dynamic, 64)
    for (Int p = 0; p < pairs; ++p) {
        Int i = start[first[p]], j = start[second[p]], now = 0;
        const Int last_i = start[first[p] + 1], last_j = start[second[p] + 1];
        double sum_i = 0, sum_j = 0, total = 0;
        while (i < last_i || j < last_j) {
            const bool own = j >= last_j || (i < last_i && t[i] <= t[j]);
            const Int k = own ? i++ : j++;
            if (segment[k] > now) {
                const double factor = segment[k] == now + 1 ? decay : std::pow(decay, double(segment[k] - now));
                sum_i *= factor, sum_j *= factor, now = segment[k];
            }
            total += (own ? sum_j : sum_i) * shrink[k];
            (own ? sum_i : sum_j) += grow[k];
        }
        out[p] = total;
    }
}

// The same sums over pairs of which the second spike is not later, for every two trains: all spikes in the order of time,
// each with its train, and one sum for every train that decays. `out` is (trains, trains), of the later train first.
void exponential_matrix(Int trains, Int spikes, const Int* who, const double* grow, const double* shrink,
                        const Int* segment, double decay, double* out) {
    std::vector<double> sums(trains, 0.0);
    Int now = 0;
    for (Int k = 0; k < spikes; ++k) {
        if (segment[k] > now) {
            const double factor = std::pow(decay, double(segment[k] - now));
            for (Int j = 0; j < trains; ++j) sums[j] *= factor;
            now = segment[k];
        }
        double* own = out + who[k] * trains;
        const double scale = shrink[k], *from = sums.data();
        for (Int j = 0; j < trains; ++j) own[j] += scale * from[j];
        sums[who[k]] += grow[k];
    }
}

// Cheapest way from one train of a pair to the other: 1 for a spike added or removed, cost |dt| for one moved. Spikes
// further apart than 2 / cost are never moved, so that groups of spikes between longer gaps are taken alone.
void least_costs(Int pairs, const Int* first, const Int* second, const double* t, const Int* start, double cost,
                 double* out) {
    const double reach = 2 / cost;
#pragma omp parallel
    {
        std::vector<double> row;
#pragma omp for schedule(dynamic, 16)
        for (Int p = 0; p < pairs; ++p) {
            Int i = start[first[p]], j = start[second[p]];
            const Int last_i = start[first[p] + 1], last_j = start[second[p] + 1];
            double total = 0;
            while (i < last_i || j < last_j) {
                const Int from_i = i, from_j = j;
                double now = 0;
                bool any = false;
                while (i < last_i || j < last_j) {
                    const bool own = j >= last_j || (i < last_i && t[i] <= t[j]);
                    const double next = own ? t[i] : t[j];
                    if (any && next - now > reach) break;
                    own ? ++i : ++j;
                    now = next, any = true;
                }
                const Int n = i - from_i, m = j - from_j;
                if (n == 0 || m == 0) {
                    total += double(n + m);
                    continue;
                }
                row.resize(m + 1);
                for (Int b = 0; b <= m; ++b) row[b] = double(b);
                for (Int a = 0; a < n; ++a) {
                    double corner = row[0];
                    row[0] += 1;
                    for (Int b = 1; b <= m; ++b) {
                        const double above = row[b];
                        const double moved = corner + cost * std::fabs(t[from_i + a] - t[from_j + b - 1]);
                        row[b] = std::min(std::min(above, row[b - 1]) + 1, moved);
                        corner = above;
                    }
                }
                total += row[m];
            }
            out[p] = total;
        }
    }
}

// ISI-distance and SPIKE-distance of pairs over [begin, end], (pairs, 2).
void kreuz_distances(Int pairs, const Int* first, const Int* second, const double* t, const Int* start, double begin,
                     double end, double* out) {
    const double ends[2] = {begin, end};
#pragma omp parallel
    {
        std::vector<double> near_x, near_y;
#pragma omp for schedule(dynamic, 16)
        for (Int p = 0; p < pairs; ++p) {
            Train sides[2];
            for (int side = 0; side < 2; ++side) {
                const Int k = side ? second[p] : first[p], n = start[k + 1] - start[k];
                sides[side] = {t + start[k], n, begin, end};
            }
            // Of spikes the distance of which is asked for, a train without any has two at the ends.
            Train x = sides[0], y = sides[1];
            if (x.n == 0) x = {ends, 2, begin, end};
            if (y.n == 0) y = {ends, 2, begin, end};
            nearest(x, y, near_x);
            nearest(y, x, near_y);
            Int i = 0, j = 0;
            while (i < x.n && x.t[i] <= begin) ++i;
            while (j < y.n && y.t[j] <= begin) ++j;
            double now = begin, isi = 0, spike = 0;
            while (now < end) {
                double next = end;
                if (i < x.n) next = std::min(next, x.t[i]);
                if (j < y.n) next = std::min(next, y.t[j]);
                const double a = x.interval(i), b = y.interval(j), length = next - now;
                if (a > 0 || b > 0) {
                    isi += length * std::fabs(a - b) / std::max(a, b);
                    const double half = 0.5 * (a + b) * (a + b);
                    const double low = profile(x, near_x, i, now) * b + profile(y, near_y, j, now) * a;
                    const double high = profile(x, near_x, i, next) * b + profile(y, near_y, j, next) * a;
                    spike += 0.5 * length * (low + high) / half;
                }
                now = next;
                while (i < x.n && x.t[i] <= now) ++i;
                while (j < y.n && y.t[j] <= now) ++j;
            }
            out[2 * p] = isi / (end - begin);
            out[2 * p + 1] = spike / (end - begin);
        }
    }
}

// Permutes the values of each row by Fisher and Yates, driven by one uniform number a value.
void shuffle_rows(Int rows, const Int* start, const double* uniform, double* values) {
    for (Int r = 0; r < rows; ++r) {
        double* own = values + start[r];
        for (Int k = start[r + 1] - start[r] - 1; k > 0; --k)
            std::swap(own[k], own[static_cast<Int>(uniform[start[r] + k] * double(k + 1))]);
    }
}

// Sorts each row; made for rows that are nearly sorted.
void sort_rows(Int rows, const Int* start, double* values) {
    for (Int r = 0; r < rows; ++r)
        for (Int k = start[r] + 1; k < start[r + 1]; ++k) {
            const double value = values[k];
            Int place = k;
            while (place > start[r] && values[place - 1] > value) values[place] = values[place - 1], --place;
            values[place] = value;
        }
}

// Number of words of the exhaustive history of Lempel and Ziv of rows of n zeros and ones.
void lempel_ziv(Int rows, Int n, const std::uint8_t* bits, double* out) {
#pragma omp parallel for schedule(dynamic, 1)
    for (Int r = 0; r < rows; ++r) {
        const std::uint8_t* row = bits + r * n;
        Parts parts(n);
        for (Int k = 0; k < n; ++k) parts.add(row[k], std::int32_t(k));
        Int begin = 0, words = 0;
        while (begin < n) {
            std::int32_t state = 0;
            Int length = 0;
            while (begin + length < n) {
                const auto next = parts.states[state].next[row[begin + length]];
                if (next < 0 || parts.states[next].first - length >= begin) break;
                state = next, ++length;
            }
            ++words;
            begin += length + 1;
        }
        out[r] = double(words);
    }
}
}
