// Leaky integrate-and-fire neurons driven by given currents, and currents made of shifted spike trains.
#include <cstdint>

// In each step the membrane decays by `decay` and takes up `scale` times the current; then the threshold is tested.
// `warm` steps of the end of a train come first, so that the record is as good as periodic.
static void run(int64_t n, int64_t warm, double decay, double scale, double v_th, double v_reset, int64_t hold,
                const double *current, uint8_t *spikes) {
    double v = v_reset;
    int64_t held = 0;
    for (int64_t t = n - warm; t < n; t++) {
        if (held > 0) {
            held--;
            continue;
        }
        v = decay * v + scale * current[t];
        if (v >= v_th) {
            v = v_reset;
            held = hold;
        }
    }
    for (int64_t t = 0; t < n; t++) {
        spikes[t] = 0;
        if (held > 0) {
            held--;
            continue;
        }
        v = decay * v + scale * current[t];
        if (v >= v_th) {
            spikes[t] = 1;
            v = v_reset;
            held = hold;
        }
    }
}

extern "C" void lif_spikes(int64_t trains, int64_t n, int64_t warm, const double *decay, const double *scale,
                           const double *v_th, const double *v_reset, const int64_t *hold, const double *current,
                           uint8_t *spikes) {
    for (int64_t k = 0; k < trains; k++)
        run(n, warm, decay[k], scale[k], v_th[k], v_reset[k], hold[k], current + k * n, spikes + k * n);
}

// Add trains of a pool, each shifted in time, around the end.
extern "C" void add_shifted(int64_t count, int64_t n, const int64_t *which, const int64_t *shift, const uint8_t *pool,
                            uint16_t *total) {
    for (int64_t k = 0; k < count; k++) {
        const uint8_t *train = pool + which[k] * n;
        const int64_t s = shift[k];
        for (int64_t t = 0; t < n - s; t++) total[t + s] += train[t];
        for (int64_t t = n - s; t < n; t++) total[t + s - n] += train[t];
    }
}
