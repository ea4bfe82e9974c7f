// The moment activation and its derivatives in one pass over the data. Formulas and names are those of activation.py,
// in the same three regimes (tonic, noisy, silent), from the same tables.
//
// With λ = ∂(ln rate)/∂θ, μ = ∂(fano)/∂θ - 2 fano λ and ν = ∂(ln gain)/∂θ - 2λ times gain/rate, which stay finite where
// rates vanish, the derivatives with respect to any parameter θ are
//
//     ∂rate = rate λ      ∂variance = rate (3 fano λ + μ)      ∂gain = rate (2 γ λ + ν)      with γ = gain/rate.
//
// They follow from g' = 1 + 2xg and h' = 2xh + g². Loops without branches over short blocks let the compiler use vector
// instructions; the four integrals of a bound are one vector, so that tables are read without gathering.
//
// PIECES, DEGREE, TONIC_DEGREE, KNEE, EDGE and SILENT are defined by whoever compiles this file.

#include <cmath>
#include <cstdint>
#include <cstring>

namespace {

constexpr int BLOCK = 128;
constexpr int PARAMETERS = 6;  // mean, std, tau_m, v_th, v_reset, t_ref
enum { MEAN, STD, TAU_M, V_TH, V_RESET, T_REF };
enum Level { VALUES, SLOPES, EVERYTHING };  // of rate and variance with respect to mean and std; of all by all

constexpr int LANES = 8;  // BLOCK is a multiple of it
// Vectors that may lie anywhere among doubles.
typedef double Lanes __attribute__((vector_size(8 * LANES), aligned(8), may_alias));
typedef double Four __attribute__((vector_size(32), aligned(8), may_alias));
typedef double Block[BLOCK];

struct Tables {
    const double *pieces;  // (piece, power, function): g, G, h, H
    const double *tonic;   // (power, function): g, G, h, H, dg/dw, dG/dw
};
constexpr int TONIC_FUNCTIONS = 6;

inline double from_bits(uint64_t bits) {
    double value;
    std::memcpy(&value, &bits, sizeof value);
    return value;
}

inline uint64_t to_bits(double value) {
    uint64_t bits;
    std::memcpy(&bits, &value, sizeof bits);
    return bits;
}

constexpr double ROUND = 0x1.8p52;  // adding it leaves the nearest integer in the last bits

inline double power_of_two(double k) { return from_bits(to_bits(k + (ROUND + 1023)) << 52); }

// e^x for x ≤ 0, with gradual underflow.
inline double exponential(double x) {
    x = x < -750 ? -750 : x;
    const double k = (x * 0x1.71547652b82fep+0 + ROUND) - ROUND;
    const double r = (x - k * 0x1.62e42fefa0000p-1) - k * 0x1.cf79abc9e3b3ap-40;
    double p = 1.0 / 479001600;
    p = p * r + 1.0 / 39916800;
    p = p * r + 1.0 / 3628800;
    p = p * r + 1.0 / 362880;
    p = p * r + 1.0 / 40320;
    p = p * r + 1.0 / 5040;
    p = p * r + 1.0 / 720;
    p = p * r + 1.0 / 120;
    p = p * r + 1.0 / 24;
    p = p * r + 1.0 / 6;
    p = p * r + 0.5;
    p = p * r + 1;
    p = p * r + 1;
    const double half = (k * 0.5 + ROUND) - ROUND;
    return p * power_of_two(half) * power_of_two(k - half);
}

// ln(x) for x ≥ 1, to some 1e-16 absolutely or relatively.
inline double logarithm(double x) {
    const uint64_t bits = to_bits(x);
    double k = from_bits((bits >> 52) | 0x4330000000000000) - (0x1p52 + 1023);
    double m = from_bits((bits & 0x000fffffffffffff) | 0x3ff0000000000000);
    const bool high = m > 1.4142135623730951;
    m = high ? m * 0.5 : m;
    k = high ? k + 1 : k;
    const double f = (m - 1) / (m + 1), w = f * f;
    double p = 2.0 / 21;
    p = p * w + 2.0 / 19;
    p = p * w + 2.0 / 17;
    p = p * w + 2.0 / 15;
    p = p * w + 2.0 / 13;
    p = p * w + 2.0 / 11;
    p = p * w + 2.0 / 9;
    p = p * w + 2.0 / 7;
    p = p * w + 2.0 / 5;
    p = p * w + 2.0 / 3;
    return k * 0x1.62e42fefa39efp-1 + (f * 2 + f * w * p);
}

// Elements of one regime, side by side.
struct Drive {
    Block above_th, span, s, std, tau_m, v_th, v_reset, t_ref;
};

struct Statistics {
    Block rate, fano, gamma;
    Block lambda[PARAMETERS], mu[PARAMETERS], nu[PARAMETERS];
};

const Statistics SILENCE{};

struct Bound {
    Block x, z;
    int32_t piece[BLOCK];
    Four values[BLOCK];
    Block g, G, h, H;  // scaled; G without its logarithm
};

void integrate(const Tables &tables, Bound &bound, int count) {
    for (int i = 0; i < count; i++) {
        const double x = bound.x[i];
        const double place = (x / (std::fabs(x) + KNEE) + 1) * (PIECES / 2);
        int32_t piece = int32_t(place);
        piece = piece < 0 ? 0 : piece;  // NaN lands somewhere and stays NaN through z
        piece = piece > PIECES - 1 ? PIECES - 1 : piece;
        bound.piece[i] = piece;
        bound.z[i] = (place - piece) * 2 - 1;
    }
    for (int i = 0; i < count; i++) {
        const double *values = tables.pieces + int64_t(bound.piece[i]) * (4 * (DEGREE + 1));
        const Four *row = reinterpret_cast<const Four *>(values);
        const double z = bound.z[i];
        Four value = row[DEGREE];
        for (int power = DEGREE - 1; power >= 0; power--) value = value * z + row[power];
        bound.values[i] = value;
    }
    const double *values = reinterpret_cast<const double *>(bound.values);
    for (int i = 0; i < count; i++) {
        const double x = bound.x[i];
        const double shrink = 1 / (std::fabs(x) + 1);
        const double left = x > 0 ? 1 : shrink, right = x > 0 ? shrink : 1;
        bound.g[i] = values[4 * i] * left;
        bound.G[i] = values[4 * i + 1] * x * shrink * right;
        bound.h[i] = values[4 * i + 2] * shrink * left * left;
        bound.H[i] = values[4 * i + 3] * shrink * shrink;
    }
}

template <int LEVEL>
void noisy(const Tables &tables, const Drive &in, Statistics &out, int count) {
    Bound upper, lower;
    Block escape, ratio, logs;
    for (int i = 0; i < count; i++) {
        const double x = -in.above_th[i] / in.s[i], y = x - in.span[i] / in.s[i];
        const double x_plus = x > 0 ? x : 0, y_plus = y > 0 ? y : 0;
        const double x_minus = x > 0 ? 0 : -x, y_minus = y > 0 ? 0 : -y;
        upper.x[i] = x;
        lower.x[i] = y;
        escape[i] = exponential(-x_plus * x_plus);
        ratio[i] = exponential((y_plus - x_plus) * (y_plus + x_plus));
        logs[i] = logarithm((1 + y_minus) / (1 + x_minus)) / 2;
    }
    integrate(tables, upper, count);
    integrate(tables, lower, count);
    for (int i = 0; i < count; i++) {
        const double tau = in.tau_m[i], s = in.s[i], x = upper.x[i], y = lower.x[i], rho = ratio[i], e = escape[i];
        const double G = upper.G[i] + rho * (logs[i] - lower.G[i]);
        const double p = 1 / (in.t_ref[i] * e + 2 * tau * G);
        const double rate = e * p, relative = tau * p;
        const double gx = upper.g[i], gy = rho * lower.g[i], hx = upper.h[i], hy = rho * rho * lower.h[i];
        const double inverse_s = 1 / s, inverse_std = 1 / in.std[i];
        const double fano = 8 * relative * relative * (upper.H[i] - rho * rho * lower.H[i]);
        const double gamma = 2 * relative * inverse_s * (gx - gy);
        out.rate[i] = rate;
        out.fano[i] = fano;
        out.gamma[i] = gamma;
        if (LEVEL == VALUES) continue;
        const double q = 8 * relative * relative;
        out.lambda[STD][i] = 2 * relative * inverse_std * (x * gx - y * gy);
        out.mu[MEAN][i] = -q * inverse_s * (hx - hy);
        out.mu[STD][i] = -q * inverse_std * (x * hx - y * hy);
        if (LEVEL == SLOPES) continue;
        const double x_tau = -in.v_th[i] / (tau * tau) * inverse_s + x / (2 * tau);
        const double y_tau = -in.v_reset[i] / (tau * tau) * inverse_s + y / (2 * tau);
        const double fx = e + 2 * x * gx, fy = e + 2 * y * gy;  // slopes of g
        const double two = 2 * relative * inverse_s;
        out.lambda[MEAN][i] = gamma;
        out.lambda[TAU_M][i] = -p * 2 * (G + tau * (gx * x_tau - gy * y_tau));
        out.lambda[V_TH][i] = -2 * p * inverse_s * gx;
        out.lambda[V_RESET][i] = 2 * p * inverse_s * gy;
        out.lambda[T_REF][i] = -rate;
        out.mu[TAU_M][i] = 2 * fano / tau + q * (hx * x_tau - hy * y_tau);
        out.mu[V_TH][i] = q / tau * inverse_s * hx;
        out.mu[V_RESET][i] = -q / tau * inverse_s * hy;
        out.mu[T_REF][i] = 0;
        out.nu[MEAN][i] = -two * inverse_s * (fx - fy);
        out.nu[STD][i] = -gamma * inverse_std - two * inverse_std * (x * fx - y * fy);
        out.nu[TAU_M][i] = 1.5 * gamma / tau + two * (fx * x_tau - fy * y_tau);
        out.nu[V_TH][i] = 2 * p * inverse_s * inverse_s * fx;
        out.nu[V_RESET][i] = -2 * p * inverse_s * inverse_s * fy;
        out.nu[T_REF][i] = 0;
    }
}

struct Series {
    Block g, G, h, H, dg, dG;
};

inline Lanes &lanes(double *values) { return *reinterpret_cast<Lanes *>(values); }
inline const Lanes &lanes(const double *values) { return *reinterpret_cast<const Lanes *>(values); }

template <int LEVEL>
void sum_series(const Tables &tables, const Block &w, Series &out, int count) {
    for (int i = 0; i < count; i += LANES) {
        const Lanes z = lanes(w + i) * (2 * EDGE * EDGE) - 1;
        Lanes g{}, G{}, h{}, H{}, dg{}, dG{};
        for (int power = TONIC_DEGREE; power >= 0; power--) {
            const double *row = tables.tonic + TONIC_FUNCTIONS * power;
            g = g * z + row[0];
            G = G * z + row[1];
            H = H * z + row[3];
            if (LEVEL >= SLOPES) {
                h = h * z + row[2];
                dG = dG * z + row[5];
            }
            if (LEVEL == EVERYTHING) dg = dg * z + row[4];
        }
        lanes(out.g + i) = g;
        lanes(out.G + i) = G;
        lanes(out.h + i) = h;
        lanes(out.H + i) = H;
        lanes(out.dg + i) = dg;
        lanes(out.dG + i) = dG;
    }
}

template <int LEVEL>
void tonic(const Tables &tables, const Drive &in, Statistics &out, int count) {
    Block u, v, wu{}, wv{}, logs;  // series are summed in whole lanes
    Series upper, lower;
    for (int i = 0; i < count; i++) {
        const double a = in.above_th[i], b = a + in.span[i], power = in.s[i] * in.s[i];
        u[i] = 1 / a;
        v[i] = 1 / b;
        wu[i] = power * (u[i] * u[i]);
        wv[i] = power * (v[i] * v[i]);
    }
    for (int i = 0; i < count; i++) logs[i] = std::log1p(in.span[i] * u[i]);
    sum_series<LEVEL>(tables, wu, upper, count);
    sum_series<LEVEL>(tables, wv, lower, count);
    for (int i = 0; i < count; i++) {
        const double tau = in.tau_m[i], std = in.std[i], power = in.s[i] * in.s[i];
        const double a = u[i], b = v[i], aa = a * a, bb = b * b;
        const double passage = logs[i] + 2 * (upper.G[i] - lower.G[i]);
        const double rate = 1 / (in.t_ref[i] + tau * passage), relative = tau * rate;
        const double ga = upper.g[i] * a, gb = lower.g[i] * b;
        const double fano = relative * relative * power * (upper.H[i] * aa - lower.H[i] * bb) / 2;
        const double gamma = relative * (ga - gb);
        out.rate[i] = rate;
        out.fano[i] = fano;
        out.gamma[i] = gamma;
        if (LEVEL == VALUES) continue;
        const double ha = upper.h[i] * aa, hb = lower.h[i] * bb, dGa = upper.dG[i] * aa, dGb = lower.dG[i] * bb;
        out.lambda[STD][i] = -4 * rate * std * (dGa - dGb);
        out.mu[MEAN][i] = -relative * relative * power * (ha * a - hb * b);
        out.mu[STD][i] = relative * rate * std * (ha - hb);
        if (LEVEL == SLOPES) continue;
        const double v_th = in.v_th[i], v_reset = in.v_reset[i];
        const double weighted = rate * rate * power;
        out.lambda[MEAN][i] = gamma;
        out.lambda[TAU_M][i] = -rate * (passage - (v_th * ga - v_reset * gb) / tau - (upper.g[i] - lower.g[i]) / 2);
        out.lambda[V_TH][i] = -rate * ga;
        out.lambda[V_RESET][i] = rate * gb;
        out.lambda[T_REF][i] = -rate;
        out.mu[TAU_M][i] = 2 * fano / tau - weighted * (v_th * ha * a - v_reset * hb * b + tau / 2 * (ha - hb));
        out.mu[V_TH][i] = tau * weighted * ha * a;
        out.mu[V_RESET][i] = -tau * weighted * hb * b;
        out.mu[T_REF][i] = 0;
        out.nu[MEAN][i] = 8 * relative * (dGa - dGb);
        out.nu[STD][i] = 2 * rate * std * (upper.dg[i] * aa * a - lower.dg[i] * bb * b);
        out.nu[TAU_M][i] = 1.5 * gamma / tau +
                           rate * (8 * (v_th * dGa - v_reset * dGb) / tau + 4 * (upper.dG[i] * a - lower.dG[i] * b));
        out.nu[V_TH][i] = -8 * rate * dGa;
        out.nu[V_RESET][i] = 8 * rate * dGb;
        out.nu[T_REF][i] = 0;
    }
}

// Values that repeat every `period` elements: a tensor that broadcasts along leading dimensions.
template <typename T>
struct Column {
    const T *values;
    int64_t period;

    void read(int64_t start, int count, double *out) const {
        if (period == 1) {
            for (int i = 0; i < count; i++) out[i] = values[0];
            return;
        }
        int64_t k = start % period;
        for (int i = 0; i < count;) {
            const int64_t run = period - k < count - i ? period - k : count - i;
            for (int64_t j = 0; j < run; j++) out[i + j] = values[k + j];
            i += int(run);
            k = 0;
        }
    }
};

template <typename T>
struct Input {
    Tables tables;
    Column<T> mean, std;
    Column<double> tau_m, v_th, v_reset, t_ref;
};

// Evaluate elements start to start + count and hand them to `finish(statistics, j, element)`; return whether all
// inputs are in their range (NaN is).
template <int LEVEL, typename T, typename Finish>
bool evaluate(const Input<T> &input, int64_t start, int count, Finish finish) {
    Drive all, part;
    Block mean;
    Statistics found;
    input.mean.read(start, count, mean);
    input.std.read(start, count, all.std);
    input.tau_m.read(start, count, all.tau_m);
    input.v_th.read(start, count, all.v_th);
    input.v_reset.read(start, count, all.v_reset);
    input.t_ref.read(start, count, all.t_ref);
    int bad = 0;
    for (int i = 0; i < count; i++) {
        const double tau = all.tau_m[i];
        all.above_th[i] = mean[i] - all.v_th[i] / tau;
        all.span[i] = (all.v_th[i] - all.v_reset[i]) / tau;
        all.s[i] = all.std[i] / std::sqrt(tau);
        bad |= int(all.std[i] < 0) | int(!(tau > 0)) | int(!(all.v_reset[i] < all.v_th[i])) | int(!(all.t_ref[i] >= 0));
    }
    int chosen[3][BLOCK], size[3] = {0, 0, 0};
    for (int i = 0; i < count; i++) {
        const double a = all.above_th[i], s = all.s[i];
        const bool is_tonic = a > 0 && a >= EDGE * s, is_silent = a <= 0 && -a >= SILENT * s;
        const int regime = is_silent ? 2 : is_tonic;
        chosen[regime][size[regime]++] = i;
    }
    for (int j = 0; j < size[2]; j++) finish(SILENCE, 0, start + chosen[2][j]);
    for (int regime = 0; regime < 2; regime++) {
        const int n = size[regime];
        if (n == 0) continue;
        const Drive *drive = &all;
        if (n < count) {
            const int *index = chosen[regime];
            for (int j = 0; j < n; j++) {
                const int i = index[j];
                part.above_th[j] = all.above_th[i];
                part.span[j] = all.span[i];
                part.s[j] = all.s[i];
                part.std[j] = all.std[i];
                part.tau_m[j] = all.tau_m[i];
                part.t_ref[j] = all.t_ref[i];
                if (LEVEL == EVERYTHING) {
                    part.v_th[j] = all.v_th[i];
                    part.v_reset[j] = all.v_reset[i];
                }
            }
            drive = &part;
        }
        if (regime == 0) noisy<LEVEL>(input.tables, *drive, found, n);
        else tonic<LEVEL>(input.tables, *drive, found, n);
        if (n < count)
            for (int j = 0; j < n; j++) finish(found, j, start + chosen[regime][j]);
        else
            for (int j = 0; j < n; j++) finish(found, j, start + j);
    }
    return !bad;
}

template <int LEVEL, typename T, typename Finish>
int evaluate_all(const Input<T> &input, int64_t count, int threads, Finish finish) {
    int good = 1;
    const int64_t blocks = (count + BLOCK - 1) / BLOCK;
#pragma omp parallel for schedule(static) num_threads(threads) if (threads > 1) reduction(&& : good)
    for (int64_t block = 0; block < blocks; block++) {
        const int64_t start = block * BLOCK, rest = count - start;
        good = evaluate<LEVEL>(input, start, int(rest < BLOCK ? rest : BLOCK), finish) && good;
    }
    return good;
}

template <typename T>
int forward(const Input<T> &input, int64_t count, int threads, T *const *out) {
    T *rate = out[0], *variance = out[1], *gain = out[2];
    T *rate_std = out[3], *variance_mean = out[4], *variance_std = out[5];
    auto values = [=](const Statistics &found, int j, int64_t i) {
        rate[i] = T(found.rate[j]);
        variance[i] = T(found.rate[j] * found.fano[j]);
        gain[i] = T(found.rate[j] * found.gamma[j]);
    };
    if (rate_std == nullptr) return evaluate_all<VALUES>(input, count, threads, values);
    return evaluate_all<SLOPES>(input, count, threads, [=](const Statistics &found, int j, int64_t i) {
        const double r = found.rate[j], three = 3 * found.fano[j];
        values(found, j, i);
        rate_std[i] = T(r * found.lambda[STD][j]);
        variance_mean[i] = T(r * (three * found.gamma[j] + found.mu[MEAN][j]));
        variance_std[i] = T(r * (three * found.lambda[STD][j] + found.mu[STD][j]));
    });
}

template <typename T>
inline double element(const Column<T> &column, int64_t i) {
    return column.values == nullptr ? 0 : double(column.values[column.period == 1 ? 0 : i]);
}

template <typename T>
int backward(const Input<T> &input, int64_t count, int threads, const Column<T> *grad, T *const *out,
             double *const *out_lif) {
    const Column<T> of_rate = grad[0], of_variance = grad[1], of_gain = grad[2];
    return evaluate_all<EVERYTHING>(input, count, threads, [=](const Statistics &found, int j, int64_t i) {
        const double r = found.rate[j], v = r * element(of_variance, i), g = r * element(of_gain, i);
        const double all = r * element(of_rate, i) + 3 * found.fano[j] * v + 2 * found.gamma[j] * g;
        for (int k = 0; k < PARAMETERS; k++) {
            const double value = all * found.lambda[k][j] + v * found.mu[k][j] + g * found.nu[k][j];
            if (k < TAU_M) {
                if (out[k] != nullptr) out[k][i] = T(value);
            } else if (out_lif[k - TAU_M] != nullptr) {
                out_lif[k - TAU_M][i] = value;
            }
        }
    });
}

template <typename T>
void combine(int64_t count, int threads, const T *const *slopes, const Column<T> *grad, T *const *out) {
    const Column<T> of_rate = grad[0], of_variance = grad[1];
    const T *rate_mean = slopes[0], *rate_std = slopes[1], *variance_mean = slopes[2], *variance_std = slopes[3];
    T *mean = out[0], *std = out[1];
#pragma omp parallel for schedule(static) num_threads(threads) if (threads > 1)
    for (int64_t i = 0; i < count; i++) {
        const T r = T(element(of_rate, i)), v = T(element(of_variance, i));
        if (mean != nullptr) mean[i] = r * rate_mean[i] + v * variance_mean[i];
        if (std != nullptr) std[i] = r * rate_std[i] + v * variance_std[i];
    }
}

template <typename T>
Input<T> input_of(const double *const *tables, const void *const *columns, const int64_t *periods) {
    auto number = [=](int k) { return Column<double>{static_cast<const double *>(columns[k]), periods[k]}; };
    auto current = [=](int k) { return Column<T>{static_cast<const T *>(columns[k]), periods[k]}; };
    return {{tables[0], tables[1]}, current(MEAN), current(STD), number(TAU_M), number(V_TH), number(V_RESET),
            number(T_REF)};
}

}  // namespace

// What Python calls, for either dtype of the inputs. Columns and periods are those of mean, std, tau_m, v_th, v_reset and
// t_ref, the last four float64. Outputs that are not wanted are null. The result says whether inputs are in their range.
#define EXPORT(NAME, T)                                                                                              \
    extern "C" int forward_##NAME(int64_t count, int threads, const double *const *tables,                           \
                                  const void *const *columns, const int64_t *periods, T *const *out) {               \
        return forward(input_of<T>(tables, columns, periods), count, threads, out);                                  \
    }                                                                                                                \
    extern "C" int backward_##NAME(int64_t count, int threads, const double *const *tables,                          \
                                   const void *const *columns, const int64_t *periods, const T *const *grads,        \
                                   const int64_t *grad_periods, T *const *out, double *const *out_lif) {             \
        const Column<T> grad[3] = {                                                                                  \
            {grads[0], grad_periods[0]}, {grads[1], grad_periods[1]}, {grads[2], grad_periods[2]}};                  \
        return backward(input_of<T>(tables, columns, periods), count, threads, grad, out, out_lif);                  \
    }                                                                                                                \
    extern "C" void combine_##NAME(int64_t count, int threads, const T *const *slopes, const T *const *grads,        \
                                   const int64_t *grad_periods, T *const *out) {                                     \
        const Column<T> grad[2] = {{grads[0], grad_periods[0]}, {grads[1], grad_periods[1]}};                        \
        combine(count, threads, slopes, grad, out);                                                                  \
    }

EXPORT(float64, double)
EXPORT(float32, float)
