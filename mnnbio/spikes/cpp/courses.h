// Variables that follow a course in time (courses.py).
#ifndef MNNBIO_COURSES_H
#define MNNBIO_COURSES_H

#include <algorithm>
#include <cstdint>
#include <string>
#include <vector>

#include "failure.h"
#include "files.h"

namespace mnnbio {

class Course
{
    const Mapped<int32_t> rows;  // stimuli, values of a stimulus (one for all elements, or one for each), row of each step
    const Mapped<double> table;
    double* const values;
    const int64_t size;
    std::vector<int64_t> place;  // of every replica's stimulus in a row

public:
    Course(const std::string& path, double* values, int64_t size, int64_t replicas)
        : rows(path + ".rows"), table(path), values(values), size(size), place(replicas)
    {
        const int64_t width = rows.size() > 2 ? rows[1] : 0;
        int64_t last = -1;
        for (size_t k = 2; k < rows.size(); k++)
            last = std::max(last, (int64_t)rows[k]);
        if ((width != 1 && width != size) || (int64_t)table.size() != (last + 1) * rows[0] * width)
            fail(path + " does not hold the course of " + std::to_string(size) + " elements");
    }

    int64_t n_steps() const { return rows.size() - 2; }

    template <typename Stimulus> void start(Stimulus stimulus)
    {
        for (size_t r = 0; r < place.size(); r++) {
            const int64_t row = rows[0] == 1 ? 0 : stimulus(r);
            if (row >= rows[0])
                fail("no stimulus " + std::to_string(row) + " in the course of a variable");
            place[r] = row * rows[1];
        }
    }

    void step(int64_t step)
    {
        const int64_t row = rows[2 + step], width = rows[1];
        if (step > 0 && row == rows[1 + step])
            return;
        for (size_t r = 0; r < place.size(); r++) {
            const double* const from = table.begin() + row * rows[0] * width + place[r];
            if (width == 1)
                std::fill_n(values + r * size, size, *from);
            else
                std::copy_n(from, size, values + r * size);
        }
    }
};

}  // namespace mnnbio

#endif
