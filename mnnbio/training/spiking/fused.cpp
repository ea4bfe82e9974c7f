// Steps of spiking networks over a whole sequence, and their derivatives; formulas and order are those of steps.py.
//
// Trials are independent of each other, so that one after the other goes through all steps with its state in the
// processor's cache. Sequences are buffers of T + 1 rows of (trials, neurons): row 0 is the state before the first step,
// row t + 1 that after step t. Modes lie as (modes, neurons). Sums over neurons are the only place where the order
// differs from that of PyTorch; products and sums are not contracted, so that everything else is equal to the last bit.

#include <cmath>
#include <cstdint>
#include <cstring>
#include <vector>

namespace {

constexpr int LANES = 16, TOGETHER = 4;  // modes that share what is read of a row
constexpr uint8_t SPIKE = 1, FREE = 2;

template <typename R>
struct Constants {
    const R *keep, *fade, *rise, *fall, *jump, *gain, *v_th, *v_reset, *hold;
    explicit Constants(const void *const *p)
        : keep(at(p, 0)), fade(at(p, 1)), rise(at(p, 2)), fall(at(p, 3)), jump(at(p, 4)), gain(at(p, 5)),
          v_th(at(p, 6)), v_reset(at(p, 7)), hold(at(p, 8)) {}
    static const R *at(const void *const *p, int k) { return static_cast<const R *>(p[k]); }
};

// A constant of all neurons, or one of each.
template <typename R, bool PLAIN>
struct Value {
    const R *__restrict each;
    R all;
    explicit Value(const R *p) : each(p), all(*p) {}
    R operator[](int64_t n) const { return PLAIN ? all : each[n]; }
};

// out[m] = Σ_n modes[m, n] row[n]
template <typename R, int M>
inline void project_few(const R *__restrict modes, const R *__restrict row, int64_t size, R *out) {
    R sums[M][LANES] = {};
    int64_t n = 0;
    for (; n + LANES <= size; n += LANES)
        for (int m = 0; m < M; m++)
            for (int k = 0; k < LANES; k++) sums[m][k] += modes[m * size + n + k] * row[n + k];
    for (int m = 0; m < M; m++) {
        R rest = 0;
        for (int64_t j = n; j < size; j++) rest += modes[m * size + j] * row[j];
        for (int half = LANES / 2; half; half /= 2)
            for (int k = 0; k < half; k++) sums[m][k] += sums[m][k + half];
        out[m] = sums[m][0] + rest;
    }
}

template <typename R>
void project(const R *modes, const R *row, int64_t size, int count, R *out) {
    int m = 0;
    for (; m + TOGETHER <= count; m += TOGETHER) project_few<R, TOGETHER>(modes + m * size, row, size, out + m);
    if (count - m == 3) project_few<R, 3>(modes + m * size, row, size, out + m);
    if (count - m == 2) project_few<R, 2>(modes + m * size, row, size, out + m);
    if (count - m == 1) project_few<R, 1>(modes + m * size, row, size, out + m);
}

// row[n] += Σ_m modes[m, n] amount[m]
template <typename R, int M>
inline void spread_few(const R *__restrict modes, const R *amount, int64_t size, R *__restrict row) {
    R own[M];
    for (int m = 0; m < M; m++) own[m] = amount[m];
    for (int64_t n = 0; n < size; n++) {
        R sum = modes[n] * own[0];
        for (int m = 1; m < M; m++) sum += modes[m * size + n] * own[m];
        row[n] += sum;
    }
}

template <typename R>
void spread(const R *modes, const R *amount, int64_t size, int count, R *row) {
    int m = 0;
    for (; m + TOGETHER <= count; m += TOGETHER) spread_few<R, TOGETHER>(modes + m * size, amount + m, size, row);
    if (count - m == 3) spread_few<R, 3>(modes + m * size, amount + m, size, row);
    if (count - m == 2) spread_few<R, 2>(modes + m * size, amount + m, size, row);
    if (count - m == 1) spread_few<R, 1>(modes + m * size, amount + m, size, row);
}

// Buffers and states of all trials, as they come.
template <typename R>
struct Course {
    R *current, *voltage, *filtered, *onset;  // T + 1 rows; of `onset` none, unless constants are learned
    uint8_t *flags;                           // T + 1 rows
};

template <typename R>
struct Modes {
    const R *in, *scores, *out;
    int count;
};

struct Clock {
    double dt, t_ref;  // s
    int64_t first;     // number of the first step
};

template <typename R, bool PLAIN, bool LATE, bool CLOCK>
void forward_step(const Constants<R> &c, const Clock &clock, int64_t t, int64_t size, const R *__restrict i_before,
                  R *__restrict i_now, const R *__restrict v_before, R *__restrict v_now, const R *__restrict r_before,
                  R *__restrict r_now, R *__restrict h, R *__restrict s, R *__restrict silent,
                  uint8_t *__restrict flags) {
    const float now = float(clock.dt * double(clock.first + t)), t_ref = float(clock.t_ref);
    const Value<R, PLAIN> keep(c.keep), fade(c.fade), rise(c.rise), fall(c.fall), jump(c.jump);
    const Value<R, PLAIN> gain(c.gain), v_th(c.v_th), v_reset(c.v_reset), hold(c.hold);
    for (int64_t n = 0; n < size; n++) {
        const R spiked = s[n];
        const R current = fade[n] * i_before[n] + i_now[n];
        i_now[n] = current;
        R v = v_before[n];
        if (!LATE) v = v - spiked * (v - v_reset[n]);
        v = keep[n] * v + (1 - keep[n]) * current;
        if (LATE) v = v * (1 - spiked);
        const float last = float(silent[n]);
        const bool free = CLOCK ? now > last + t_ref : silent[n] == 0;
        v = free ? v : R(0);
        v_now[n] = v;
        const R onset = rise[n] * h[n] + jump[n] * spiked;
        h[n] = onset;
        r_now[n] = fall[n] * r_before[n] + gain[n] * onset;
        const bool spikes = v - v_th[n] > 0;
        s[n] = spikes ? R(1) : R(0);
        if (CLOCK) {
            silent[n] = R(spikes ? last + (now - last) : last);
        } else {
            const R left = silent[n] - 1;
            silent[n] = spikes ? hold[n] : left > 0 ? left : R(0);
        }
        flags[n] = uint8_t((spikes ? SPIKE : 0) | (free ? FREE : 0));
    }
}

template <typename R, bool PLAIN, bool LATE, bool CLOCK>
void forward_trial(const Constants<R> &c, const Modes<R> &modes, const Clock &clock, int64_t steps, int64_t row,
                   int64_t size, const Course<R> &of, R *h, R *s, R *silent, R *projected, int64_t projected_row) {
    R amount[TOGETHER];
    for (int64_t t = 0; t < steps; t++) {
        const int64_t before = t * row, now = before + row;
        if (modes.count) {
            R *kappa = projected + t * projected_row;
            project(modes.out, of.filtered + before, size, modes.count, kappa);
            for (int m = 0; m < modes.count; m += TOGETHER) {
                const int few = modes.count - m < TOGETHER ? modes.count - m : TOGETHER;
                for (int k = 0; k < few; k++) amount[k] = modes.scores[m + k] * kappa[m + k];
                spread(modes.in + m * size, amount, size, few, of.current + now);
            }
        }
        forward_step<R, PLAIN, LATE, CLOCK>(c, clock, t, size, of.current + before, of.current + now,
                                            of.voltage + before, of.voltage + now, of.filtered + before,
                                            of.filtered + now, h, s, silent, of.flags + now);
        if (of.onset) std::memcpy(of.onset + now, h, size * sizeof(R));
    }
}

// Derivatives with respect to the state, which go from step to step backwards.
template <typename R>
struct Adjoint {
    R *current, *voltage, *onset, *filtered, *spikes;
};

// Derivatives with respect to what is recorded, from outside: one row for every step, or zeros for all.
template <typename R>
struct Upstream {
    const R *rows;
    int64_t row;
    const R *at(int64_t t) const { return rows + t * row; }
};

enum { KEEP, FADE, RISE, FALL, JUMP, GAIN, V_TH, LEARNED };

template <typename R, bool PLAIN, bool LATE, bool LEARN>
void backward_step(const Constants<R> &c, R slope, int64_t size, R *__restrict i_now, const R *__restrict i_before,
                   const R *__restrict v_now, const R *__restrict v_before, const R *__restrict r_before,
                   const R *__restrict h_now, const R *__restrict h_before, const uint8_t *__restrict f_now,
                   const uint8_t *__restrict f_before, const R *__restrict of_r, const R *__restrict of_v,
                   const R *__restrict of_s, R *__restrict gi, R *__restrict gv, R *__restrict gh, R *__restrict gr,
                   R *__restrict gs, R *__restrict learned) {
    const Value<R, PLAIN> keep(c.keep), fade(c.fade), rise(c.rise), fall(c.fall);
    const Value<R, PLAIN> jump(c.jump), gain(c.gain), v_th(c.v_th), v_reset(c.v_reset);
    const auto part = [&](int k) { return LEARN ? learned + k * size : nullptr; };
    R *__restrict of_keep = part(KEEP), *__restrict of_fade = part(FADE), *__restrict of_rise = part(RISE);
    R *__restrict of_fall = part(FALL), *__restrict of_jump = part(JUMP), *__restrict of_gain = part(GAIN);
    R *__restrict of_v_th = part(V_TH);
#pragma GCC ivdep
    for (int64_t n = 0; n < size; n++) {
        const R spiked = f_before[n] & SPIKE ? R(1) : R(0), free = f_now[n] & FREE ? R(1) : R(0);
        const R r_here = gr[n] + of_r[n];
        const R s_here = gs[n] + of_s[n];
        const R far = 1 + slope * std::fabs(v_now[n] - v_th[n]);
        const R through = s_here / (far * far);
        const R v_here = gv[n] + of_v[n] + through;
        const R h_here = gh[n] + gain[n] * r_here;
        R v = v_before[n];
        if (!LATE) v = v - spiked * (v - v_reset[n]);
        R of_spike = jump[n] * h_here;
        R down = v_here * free;
        if (LATE) {
            of_spike -= down * (keep[n] * v + (1 - keep[n]) * i_now[n]);
            down *= 1 - spiked;
        }
        const R i_here = gi[n] + (1 - keep[n]) * down;
        R v_next = keep[n] * down;
        if (LEARN) {
            of_keep[n] += down * (v - i_now[n]);
            of_fade[n] += i_here * i_before[n];
            of_rise[n] += h_here * h_before[n];
            of_fall[n] += r_here * r_before[n];
            of_jump[n] += h_here * spiked;
            of_gain[n] += r_here * h_now[n];
            of_v_th[n] -= through;
        }
        if (!LATE) {
            of_spike -= v_next * (v_before[n] - v_reset[n]);
            v_next *= 1 - spiked;
        }
        gi[n] = fade[n] * i_here;
        gv[n] = v_next;
        gh[n] = rise[n] * h_here;
        gr[n] = fall[n] * r_here;
        gs[n] = of_spike;
        i_now[n] = i_here;
    }
}

template <typename R, bool PLAIN, bool LATE, bool LEARN>
void backward_trial(const Constants<R> &c, const Modes<R> &modes, R slope, int64_t steps, int64_t row, int64_t size,
                    const Course<R> &of, const Upstream<R> *up, const Adjoint<R> &g, R *projected,
                    int64_t projected_row, R *learned) {
    R amount[TOGETHER];
    for (int64_t t = steps - 1; t >= 0; t--) {
        const int64_t before = t * row, now = before + row;
        const R *none = nullptr;
        backward_step<R, PLAIN, LATE, LEARN>(
            c, slope, size, of.current + now, of.current + before, of.voltage + now, of.voltage + before,
            of.filtered + before, LEARN ? of.onset + now : none, LEARN ? of.onset + before : none, of.flags + now,
            of.flags + before, up[0].at(t), up[1].at(t), up[2].at(t), g.current, g.voltage, g.onset,
            g.filtered, g.spikes, learned);
        if (modes.count) {
            R *found = projected + t * projected_row;
            project(modes.in, of.current + now, size, modes.count, found);
            for (int m = 0; m < modes.count; m += TOGETHER) {
                const int few = modes.count - m < TOGETHER ? modes.count - m : TOGETHER;
                for (int k = 0; k < few; k++) amount[k] = modes.scores[m + k] * found[m + k];
                spread(modes.out + m * size, amount, size, few, g.filtered);
            }
        }
    }
}

struct Options {
    int64_t steps, trials, size, modes, first;
    int64_t plain, late, clock, learn, threads;
    double slope, dt, t_ref;
};

template <typename R>
Course<R> shifted(void *const *p, int64_t by) {
    const auto at = [&](int k) { return p[k] ? static_cast<R *>(p[k]) + by : nullptr; };
    return {at(0), at(1), at(2), at(3), static_cast<uint8_t *>(p[4]) + by};
}

template <typename R>
Modes<R> modes_of(const Options &o, const void *const *p) {
    return {static_cast<const R *>(p[0]), static_cast<const R *>(p[1]), static_cast<const R *>(p[2]), int(o.modes)};
}

// state: onset, spikes, silent, each (trials, neurons)
template <typename R>
void forward(const Options &o, const void *const *constants, const void *const *factors, void *const *course,
             void *const *state, void *projected) {
    const Constants<R> c(constants);
    const Modes<R> modes = modes_of<R>(o, factors);
    const Clock clock{o.dt, o.t_ref, o.first};
    const auto run = o.clock ? (o.late ? forward_trial<R, false, true, true> : forward_trial<R, false, false, true>)
                     : o.plain ? (o.late ? forward_trial<R, true, true, false> : forward_trial<R, true, false, false>)
                               : (o.late ? forward_trial<R, false, true, false> : forward_trial<R, false, false, false>);
#pragma omp parallel for num_threads(int(o.threads)) if (o.threads > 1)
    for (int64_t b = 0; b < o.trials; b++) {
        const int64_t by = b * o.size;
        const auto of_state = [&](int k) { return static_cast<R *>(state[k]) + by; };
        run(c, modes, clock, o.steps, o.trials * o.size, o.size, shifted<R>(course, by), of_state(0), of_state(1),
            of_state(2), static_cast<R *>(projected) + b * o.modes, o.trials * o.modes);
    }
}

// upstream: derivatives with respect to filtered spikes, voltages and spikes of every step, T rows or none
// adjoint: current, voltage, onset, filtered, spikes; learned: (trials, LEARNED, neurons)
template <typename R>
void backward(const Options &o, const void *const *constants, const void *const *factors, void *const *course,
              const void *const *upstream, void *const *adjoint, void *projected, void *learned) {
    const Constants<R> c(constants);
    const Modes<R> modes = modes_of<R>(o, factors);
    const auto run = o.learn ? (o.late ? backward_trial<R, false, true, true> : backward_trial<R, false, false, true>)
                     : o.plain ? (o.late ? backward_trial<R, true, true, false> : backward_trial<R, true, false, false>)
                               : (o.late ? backward_trial<R, false, true, false> : backward_trial<R, false, false, false>);
    const std::vector<R> zeros(size_t(o.size), R(0));
#pragma omp parallel for num_threads(int(o.threads)) if (o.threads > 1)
    for (int64_t b = 0; b < o.trials; b++) {
        const int64_t by = b * o.size;
        const auto up = [&](int k) -> Upstream<R> {
            if (!upstream[k]) return {zeros.data(), 0};
            return {static_cast<const R *>(upstream[k]) + by, o.trials * o.size};
        };
        const Upstream<R> ups[3] = {up(0), up(1), up(2)};
        const auto g = [&](int k) { return static_cast<R *>(adjoint[k]) + by; };
        R *own = learned ? static_cast<R *>(learned) + b * LEARNED * o.size : nullptr;
        run(c, modes, R(o.slope), o.steps, o.trials * o.size, o.size, shifted<R>(course, by), ups,
            {g(0), g(1), g(2), g(3), g(4)}, static_cast<R *>(projected) + b * o.modes, o.trials * o.modes, own);
    }
}

}  // namespace

#define EXPORTED(R, NAME)                                                                                           \
    extern "C" void forward_##NAME(const Options *o, const void *const *constants, const void *const *factors,      \
                                   void *const *course, void *const *state, void *projected) {                      \
        forward<R>(*o, constants, factors, course, state, projected);                                               \
    }                                                                                                               \
    extern "C" void backward_##NAME(const Options *o, const void *const *constants, const void *const *factors,     \
                                    void *const *course, const void *const *upstream, void *const *adjoint,         \
                                    void *projected, void *learned) {                                               \
        backward<R>(*o, constants, factors, course, upstream, adjoint, projected, learned);                         \
    }
EXPORTED(float, float32)
EXPORTED(double, float64)
