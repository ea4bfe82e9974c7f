// The one way in which a program gives up.
#ifndef MNNBIO_FAILURE_H
#define MNNBIO_FAILURE_H

#include <cstdlib>
#include <iostream>
#include <string>

namespace mnnbio {

[[noreturn]] inline void fail(const std::string& message)
{
    std::cerr << "error: " << message << std::endl;
    std::exit(1);
}

}  // namespace mnnbio

#endif
