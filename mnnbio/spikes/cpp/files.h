// Files of numbers, read whole or in place.
#ifndef MNNBIO_FILES_H
#define MNNBIO_FILES_H

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <fstream>
#include <string>
#include <vector>

#include "failure.h"

namespace mnnbio {

template <typename T> std::vector<T> read_file(const std::string& path)
{
    std::ifstream file(path, std::ios::binary | std::ios::ate);
    if (!file)
        fail("cannot open " + path);
    const std::streamsize size = file.tellg();
    std::vector<T> values(size / sizeof(T));
    file.seekg(0);
    file.read(reinterpret_cast<char*>(values.data()), size);
    if (!file || size % sizeof(T) != 0)
        fail("cannot read " + path);
    return values;
}

// A file read in place: all processes that read it share one copy in memory.
template <typename T> class Mapped
{
    const T* values = nullptr;
    size_t number = 0;

public:
    explicit Mapped(const std::string& path)
    {
        const int file = open(path.c_str(), O_RDONLY);
        struct stat facts;
        if (file < 0 || fstat(file, &facts) != 0)
            fail("cannot open " + path);
        number = facts.st_size / sizeof(T);
        void* place = number ? mmap(nullptr, facts.st_size, PROT_READ, MAP_SHARED, file, 0) : nullptr;
        close(file);
        if (place == MAP_FAILED || facts.st_size % sizeof(T) != 0)
            fail("cannot read " + path);
        values = static_cast<const T*>(place);
    }

    Mapped(const Mapped&) = delete;
    Mapped& operator=(const Mapped&) = delete;

    ~Mapped()
    {
        if (values)
            munmap(const_cast<T*>(values), number * sizeof(T));
    }

    size_t size() const { return number; }
    const T* begin() const { return values; }
    const T* end() const { return values + number; }
    const T& operator[](size_t k) const { return values[k]; }
};

}  // namespace mnnbio

#endif
