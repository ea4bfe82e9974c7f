// Random numbers as pure functions of (stream, counter): the same numbers in whatever order, replica or process they are
// drawn. streams.py holds the same functions in NumPy.
#ifndef MNNBIO_STREAMS_H
#define MNNBIO_STREAMS_H

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstring>

namespace mnnbio {

// The finaliser of SplitMix64 (Steele, Lea & Flood 2014): a bijection in which every input bit reaches every output bit.
inline uint64_t mix64(uint64_t z)
{
    z += 0x9e3779b97f4a7c15ULL;
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9ULL;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebULL;
    return z ^ (z >> 31);
}

// The stream of element `index` of group `salt` in the presentation that `key` names.
inline int64_t stream_of(int64_t key, int64_t salt, int64_t index)
{
    return (int64_t)mix64((uint64_t)key ^ mix64(((uint64_t)salt << 40) + (uint64_t)index));
}

// A double of given bits, and the bits of a double.
inline double from_bits(uint64_t bits)
{
    double value;
    std::memcpy(&value, &bits, sizeof value);
    return value;
}

inline uint64_t to_bits(double value)
{
    uint64_t bits;
    std::memcpy(&bits, &value, sizeof bits);
    return bits;
}

// Uniform in (0, 1), neither end included: 51 random bits and half a unit. The bits become the fraction of a number in
// [1, 2), because conversions from integers are slow in vectors; in whatever order a compiler then subtracts, the number,
// its distance from 1/2 and that from 1 are exact.
inline double unit_interval(uint64_t bits)
{
    return from_bits(bits >> 12 | 0x3ff0000000000001ULL) - 1.0;
}

inline double uniform(int64_t stream, int64_t counter)
{
    return unit_interval(mix64((uint64_t)stream ^ mix64((uint64_t)counter)));
}

template <typename T> bool all_same(const T* values, int64_t number)
{
    for (int64_t k = 1; k < number; k++)
        if (values[k] != values[0])
            return false;
    return true;
}

// Exponential function within two units of the last place, without branches or calls, so that loops of it become vector
// code: e^x = 2^k e^r with |r| <= log(2)/2 and a series for e^r. Beyond what a double holds it stays at the ends.
inline double exp_of(double x)
{
    x = x < -708.0 ? -708.0 : x;
    x = x > 709.0 ? 709.0 : x;
    const double k = __builtin_rint(x * 1.4426950408889634);
    const double r = (x - k * 6.93147180369123816490e-01) - k * 1.90821492927058770002e-10;
    double series = 1.0 / 6227020800;
    series = series * r + 1.0 / 479001600;
    series = series * r + 1.0 / 39916800;
    series = series * r + 1.0 / 3628800;
    series = series * r + 1.0 / 362880;
    series = series * r + 1.0 / 40320;
    series = series * r + 1.0 / 5040;
    series = series * r + 1.0 / 720;
    series = series * r + 1.0 / 120;
    series = series * r + 1.0 / 24;
    series = series * r + 1.0 / 6;
    series = series * r + 0.5;
    series = series * r + 1.0;
    series = series * r + 1.0;
    return series * from_bits(to_bits(k + 4503599627371519.0) << 52);
}

// Natural logarithm of a normal positive number, within two units of the last place and without branches or calls, so
// that loops of it become vector code: x = 2^k m with m in [1/√2, √2), and log m = 2 artanh((m - 1)/(m + 1)) as a series.
inline double log_of(double x)
{
    const uint64_t bits = to_bits(x);
    const double whole = from_bits((bits >> 52) | 0x4330000000000000ULL) - (4503599627370496.0 + 1023.0);
    const double fraction = from_bits((bits & 0x000fffffffffffffULL) | 0x3ff0000000000000ULL);
    const bool large = fraction > 1.4142135623730951;
    const double m = large ? 0.5 * fraction : fraction, k = large ? whole + 1.0 : whole;
    const double s = (m - 1.0) / (m + 1.0), z = s * s;
    double series = 1.0 / 23;
    series = series * z + 1.0 / 21;
    series = series * z + 1.0 / 19;
    series = series * z + 1.0 / 17;
    series = series * z + 1.0 / 15;
    series = series * z + 1.0 / 13;
    series = series * z + 1.0 / 11;
    series = series * z + 1.0 / 9;
    series = series * z + 1.0 / 7;
    series = series * z + 1.0 / 5;
    series = series * z + 1.0 / 3;
    return k * 0.6931471805599453094 + 2.0 * (s + s * z * series);
}

// Standard normal by inversion, algorithm AS 241 (PPND16; Wichura 1988), relative accuracy about 1e-16, in three parts:
// the centre, |q| = |p - 1/2| ≤ 0.425; the tails; and beyond r = sqrt(-log(min(p, 1 - p))) = 5 what hardly ever comes.
const double centre_width = 0.425, tail_end = 5.0;

inline double normal_centre(double q)
{
    const double r = 0.180625 - q * q;
    return q
        * (((((((2509.0809287301226727 * r + 33430.575583588128105) * r + 67265.770927008700853) * r
               + 45921.953931549871457) * r + 13731.693765509461125) * r + 1971.5909503065514427) * r
            + 133.14166789178437745) * r + 3.387132872796366608)
        / (((((((5226.495278852545925 * r + 28729.085735721942674) * r + 39307.89580009271061) * r
               + 21213.794301586595867) * r + 5394.1960214247511077) * r + 687.1870074920579083) * r
            + 42.313330701600911252) * r + 1.0);
}

inline double tail_distance(double p)
{
    return std::sqrt(-log_of(p < 0.5 ? p : 1.0 - p));
}

inline double normal_tail(double distance)
{
    const double r = distance - 1.6;
    return (((((((7.7454501427834140764e-4 * r + 0.0227238449892691845833) * r + 0.24178072517745061177) * r
                + 1.27045825245236838258) * r + 3.64784832476320460504) * r + 5.7694972214606914055) * r
             + 4.6303378461565452959) * r + 1.42343711074968357734)
        / (((((((1.05075007164441684324e-9 * r + 5.475938084995344946e-4) * r + 0.0151986665636164571966) * r
               + 0.14810397642748007459) * r + 0.68976733498510000455) * r + 1.6763848301838038494) * r
            + 2.05319162663775882187) * r + 1.0);
}

inline double normal_far_tail(double distance)
{
    const double r = distance - 5.0;
    return (((((((2.01033439929228813265e-7 * r + 2.71155556874348757815e-5) * r + 0.0012426609473880784386) * r
                + 0.026532189526576123093) * r + 0.29656057182850489123) * r + 1.7848265399172913358) * r
             + 5.4637849111641143699) * r + 6.6579046435011037772)
        / (((((((2.04426310338993978564e-15 * r + 1.4215117583164458887e-7) * r + 1.8463183175100546818e-5) * r
               + 7.868691311456132591e-4) * r + 0.0148753612908506148525) * r + 0.13692988092273580531) * r
            + 0.59983220655588793769) * r + 1.0);
}

inline double normal_quantile(double p)
{
    const double q = p - 0.5;
    if (std::fabs(q) <= centre_width)
        return normal_centre(q);
    const double distance = tail_distance(p);
    const double x = distance <= tail_end ? normal_tail(distance) : normal_far_tail(distance);
    return q < 0 ? -x : x;
}

inline double normal_draw(int64_t stream, int64_t counter)
{
    return normal_quantile(uniform(stream, counter));
}

// Poisson count by inversion; `quiet` is the probability of none, exp(-mean).
inline double poisson_draw(int64_t stream, int64_t counter, double quiet)
{
    const double u = uniform(stream, counter);
    if (u < quiet)
        return 0.0;
    const double mean = -log_of(quiet);
    double count = 0.0, p = quiet, cumulative = quiet;
    while (u >= cumulative && p > 1e-300) {
        count += 1.0;
        p *= mean / count;
        cumulative += p;
    }
    return count;
}

// Steps to the next success of a Bernoulli trial a step, at least 1; `scale` = 1 / log(1 - probability).
inline int32_t gap_of(double uniform, double scale)
{
    return 1 + (int32_t)std::min(std::floor(log_of(uniform) * scale), 1e9);
}

inline int32_t bernoulli_gap(int64_t stream, int64_t counter, double scale)
{
    return gap_of(uniform(stream, counter), scale);
}

// The step of the next success: another one where `next_spike` is the present step, else that.
inline int32_t later_spike(int32_t next_spike, int64_t step, int64_t stream, double scale)
{
    return next_spike == step ? (int32_t)step + bernoulli_gap(stream, step + 1, scale) : next_spike;
}

inline double uniform_draw(int64_t stream, int64_t counter)
{
    return uniform(stream, counter);
}

}  // namespace mnnbio

#endif
