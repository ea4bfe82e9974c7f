// Steps of spiking networks over a whole sequence, and their derivatives; formulas and order are those of steps.py.
//
// Trials are independent of each other, so that one after the other goes through all steps with its state in the
// processor's cache. Sequences are buffers of T + 1 rows of (trials, neurons): row 0 is the state before the first step,
// row t + 1 that after step t; where the course is not needed, of two rows in turn. Weights lie with neurons along rows.
// Sums over neurons are the only place where the order differs from that of PyTorch; products and sums are not
// contracted, so that everything else is equal to the last bit. FEW is defined by whoever compiles this file.

#include <cmath>
#include <cstdint>
#include <cstring>
#include <vector>

namespace {

constexpr int LANES = 16, TOGETHER = 4;  // elements of a sum; modes that share what is read of a row
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
__attribute__((noinline)) void project(const R *modes, const R *row, int64_t size, int count, R *out) {
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
__attribute__((noinline)) void spread(const R *modes, const R *amount, int64_t size, int count, R *row) {
    int m = 0;
    for (; m + TOGETHER <= count; m += TOGETHER) spread_few<R, TOGETHER>(modes + m * size, amount + m, size, row);
    if (count - m == 3) spread_few<R, 3>(modes + m * size, amount + m, size, row);
    if (count - m == 2) spread_few<R, 2>(modes + m * size, amount + m, size, row);
    if (count - m == 1) spread_few<R, 1>(modes + m * size, amount + m, size, row);
}

// sums[m, n] += amount[m] row[n]
template <typename R>
__attribute__((noinline)) void collect(const R *amount, const R *__restrict row, int64_t size, int count, R *__restrict sums) {
    for (int m = 0; m < count; m++) {
        const R own = amount[m];
        for (int64_t n = 0; n < size; n++) sums[m * size + n] += own * row[n];
    }
}

// What Python passes: see fused.py. Arrays are (…, trials, neurons) unless said otherwise.
struct Job {
    int64_t steps, trials, size, modes, inputs, readouts;  // numbers of what is computed here; 0 for what is not
    int64_t first, rows;                                   // number of the first step; rows of the buffers
    int64_t plain, late, clock, learn, threads;
    double slope, dt, t_ref;                                           // the last two in s
    const void *constants[9];                                          // (neurons,), or one number each
    const void *modes_in, *scores, *modes_out, *weight_in, *weight_out;  // (modes, neurons), …
    const void *given;                                                 // (steps, trials, inputs)
    void *current, *voltage, *filtered, *onset, *flags;                // rows; `onset` only to learn constants
    void *state_onset, *state_spikes, *state_silent;
    void *projected, *outputs;  // (steps, trials, modes) and (steps, trials, readouts)
    void *best, *last;          // highest r so far and its step
    // Derivatives: from outside, of the state, and what comes out.
    const void *of_filtered, *of_voltages, *of_spikes;  // (steps, …)
    const void *of_outputs, *of_best;
    void *adjoint[5];    // current, voltage, onset, filtered, spikes
    void *of_projected;  // (steps, trials, modes)
    void *sums;          // (trials, inputs + 2 modes + readouts, neurons): W_in, ξ_in, ξ_out, W_out
    void *learned;       // (trials, LEARNED, neurons)
};

template <typename R, bool PLAIN, bool LATE, bool CLOCK>
void forward_step(const Constants<R> &c, float now, float t_ref, int64_t size, const R *__restrict i_before,
                  R *__restrict i_now, const R *__restrict v_before, R *__restrict v_now, const R *__restrict r_before,
                  R *__restrict r_now, R *__restrict h, R *__restrict s, R *__restrict silent,
                  uint8_t *__restrict flags) {
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

template <typename R>
R *shifted(void *p, int64_t by) {
    return p ? static_cast<R *>(p) + by : nullptr;
}

template <typename R>
const R *shifted(const void *p, int64_t by) {
    return p ? static_cast<const R *>(p) + by : nullptr;
}

template <typename R, bool PLAIN, bool LATE, bool CLOCK>
void forward_trial(const Job &job, int64_t trial) {
    const int64_t size = job.size, row = job.trials * size, by = trial * size;
    const int modes = int(job.modes), inputs = int(job.inputs), readouts = int(job.readouts);
    const Constants<R> c(job.constants);
    const R *weight_in = shifted<R>(job.weight_in, 0), *weight_out = shifted<R>(job.weight_out, 0);
    const R *modes_in = shifted<R>(job.modes_in, 0), *modes_out = shifted<R>(job.modes_out, 0);
    const R *scores = shifted<R>(job.scores, 0);
    R *const current = shifted<R>(job.current, by), *const voltage = shifted<R>(job.voltage, by);
    R *const filtered = shifted<R>(job.filtered, by), *const onset = shifted<R>(job.onset, by);
    uint8_t *const flags = shifted<uint8_t>(job.flags, by);
    R *const h = shifted<R>(job.state_onset, by), *const s = shifted<R>(job.state_spikes, by);
    R *const silent = shifted<R>(job.state_silent, by);
    R *const best = shifted<R>(job.best, by), *const last = shifted<R>(job.last, by);
    R amount[FEW];
    for (int64_t t = 0; t < job.steps; t++) {
        const int64_t before = t % job.rows * row, now = (t + 1) % job.rows * row, place = t * job.trials + trial;
        if (inputs) {
            std::memset(current + now, 0, size * sizeof(R));
            spread(weight_in, shifted<R>(job.given, place * inputs), size, inputs, current + now);
        }
        if (modes) {
            R *kappa = shifted<R>(job.projected, place * modes);
            project(modes_out, filtered + before, size, modes, kappa);
            for (int m = 0; m < modes; m++) amount[m] = scores[m] * kappa[m];
            spread(modes_in, amount, size, modes, current + now);
        }
        forward_step<R, PLAIN, LATE, CLOCK>(c, float(job.dt * double(job.first + t)), float(job.t_ref), size,
                                            current + before, current + now, voltage + before, voltage + now,
                                            filtered + before, filtered + now, h, s, silent, flags + now);
        if (onset) std::memcpy(onset + now, h, size * sizeof(R));
        if (readouts) project(weight_out, filtered + now, size, readouts, shifted<R>(job.outputs, place * readouts));
        if (best) {
            const R *r = filtered + now;
            const R here = R(job.first + t);
#pragma GCC ivdep
            for (int64_t n = 0; n < size; n++) {
                last[n] = r[n] > best[n] ? here : last[n];
                best[n] = r[n] > best[n] ? r[n] : best[n];
            }
        }
    }
}

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
void backward_trial(const Job &job, int64_t trial, const R *zeros) {
    const int64_t size = job.size, row = job.trials * size, by = trial * size;
    const int modes = int(job.modes), inputs = int(job.inputs), readouts = int(job.readouts);
    const Constants<R> c(job.constants);
    const R *weight_out = shifted<R>(job.weight_out, 0), *scores = shifted<R>(job.scores, 0);
    const R *modes_in = shifted<R>(job.modes_in, 0), *modes_out = shifted<R>(job.modes_out, 0);
    R *const current = shifted<R>(job.current, by), *const onset = shifted<R>(job.onset, by);
    const R *const voltage = shifted<R>(job.voltage, by), *const filtered = shifted<R>(job.filtered, by);
    const uint8_t *const flags = shifted<uint8_t>(job.flags, by);
    const R *const of_best = shifted<R>(job.of_best, by), *const last = shifted<R>(job.last, by);
    R *const gi = shifted<R>(job.adjoint[0], by), *const gv = shifted<R>(job.adjoint[1], by);
    R *const gh = shifted<R>(job.adjoint[2], by), *const gr = shifted<R>(job.adjoint[3], by);
    R *const gs = shifted<R>(job.adjoint[4], by);
    R *const sums = shifted<R>(job.sums, by * (inputs + 2 * modes + readouts));
    R *const of_modes_in = sums + inputs * size, *const of_modes_out = of_modes_in + modes * size;
    R *const of_weight_out = of_modes_out + modes * size;
    const auto upstream = [&](const void *p, int64_t t) { return p ? shifted<R>(p, t * row + by) : zeros; };
    const R *none = nullptr;
    R amount[FEW];
    for (int64_t t = job.steps - 1; t >= 0; t--) {
        const int64_t before = t * row, now = before + row, place = t * job.trials + trial;
        const R *of_outputs = shifted<R>(job.of_outputs, place * readouts);
        if (of_outputs) {
            spread(weight_out, of_outputs, size, readouts, gr);
            collect(of_outputs, filtered + now, size, readouts, of_weight_out);
        }
        if (of_best) {
            const R here = R(job.first + t);
            for (int64_t n = 0; n < size; n++) gr[n] += last[n] == here ? of_best[n] : R(0);
        }
        backward_step<R, PLAIN, LATE, LEARN>(
            c, R(job.slope), size, current + now, current + before, voltage + now, voltage + before, filtered + before,
            LEARN ? onset + now : none, LEARN ? onset + before : none, flags + now, flags + before,
            upstream(job.of_filtered, t), upstream(job.of_voltages, t), upstream(job.of_spikes, t), gi, gv, gh, gr, gs,
            LEARN ? shifted<R>(job.learned, by * LEARNED) : nullptr);
        if (inputs) collect(shifted<R>(job.given, place * inputs), current + now, size, inputs, sums);
        if (modes) {
            const R *kappa = shifted<R>(const_cast<const void *>(job.projected), place * modes);
            R *found = shifted<R>(job.of_projected, place * modes);
            for (int m = 0; m < modes; m++) amount[m] = scores[m] * kappa[m];
            collect(amount, current + now, size, modes, of_modes_in);
            project(modes_in, current + now, size, modes, found);
            for (int m = 0; m < modes; m++) amount[m] = scores[m] * found[m];
            collect(amount, filtered + before, size, modes, of_modes_out);
            spread(modes_out, amount, size, modes, gr);
        }
    }
}

template <typename R>
void forward(const Job &job) {
    const auto run = job.clock ? (job.late ? forward_trial<R, false, true, true> : forward_trial<R, false, false, true>)
                     : job.plain ? (job.late ? forward_trial<R, true, true, false> : forward_trial<R, true, false, false>)
                     : job.late ? forward_trial<R, false, true, false>
                                : forward_trial<R, false, false, false>;
#pragma omp parallel for num_threads(int(job.threads)) if (job.threads > 1)
    for (int64_t trial = 0; trial < job.trials; trial++) run(job, trial);
}

template <typename R>
void backward(const Job &job) {
    const auto run = job.learn ? (job.late ? backward_trial<R, false, true, true> : backward_trial<R, false, false, true>)
                     : job.plain ? (job.late ? backward_trial<R, true, true, false> : backward_trial<R, true, false, false>)
                     : job.late ? backward_trial<R, false, true, false>
                                : backward_trial<R, false, false, false>;
    const std::vector<R> zeros(size_t(job.size), R(0));
#pragma omp parallel for num_threads(int(job.threads)) if (job.threads > 1)
    for (int64_t trial = 0; trial < job.trials; trial++) run(job, trial, zeros.data());
}

}  // namespace

extern "C" void forward_float32(const Job *job) { forward<float>(*job); }
extern "C" void forward_float64(const Job *job) { forward<double>(*job); }
extern "C" void backward_float32(const Job *job) { backward<float>(*job); }
extern "C" void backward_float64(const Job *job) { backward<double>(*job); }
