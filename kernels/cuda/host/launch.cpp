// The host's build of all kernels, and the function that launches one by name, as a driver does.
#include "../base.cuh"

namespace host {
std::unordered_map<std::string, std::pair<Entry, size_t>>& entries() {
    static std::unordered_map<std::string, std::pair<Entry, size_t>> all;
    return all;
}
}  // namespace host

#include "../activate.cu"
#include "../attend.cu"
#include "../embed.cu"
#include "../norm.cu"
#include "../pack.cu"
#include "../pool.cu"
#include "../rotate.cu"
#include "../score.cu"
#include "faults.hpp"

namespace {

struct Call {
    host::Entry entry;
    void* const* parameters;
};

void body(void* argument) {
    const Call& call = *static_cast<const Call*>(argument);
    call.entry(call.parameters);
}

}  // namespace

// Runs the kernel `name`. Returns null, or what went wrong.
extern "C" const char* sconce_host_launch(const char* name, const unsigned* grid, const unsigned* block, unsigned shared,
                                          void* const* parameters, size_t count, bool descending) {
    const auto found = host::entries().find(name);
    if (found == host::entries().end()) return "no kernel of this name";
    if (found->second.second != count) return "the kernel has another number of parameters";
    Call call = {found->second.first, parameters};
    return host::run({{grid[0], grid[1], grid[2]}, {block[0], block[1], block[2]}, shared, descending, body, &call});
}
