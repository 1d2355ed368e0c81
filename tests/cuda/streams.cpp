// Streams, which do what they are told when they are waited for; events; and graphs.
#include <cstring>

#include "driver.hpp"

namespace {

constexpr Result CAPTURE_UNSUPPORTED = 900;

std::set<Stream*> streams;
long operations;

struct Event {
    // Reached when this stream has done so many operations; at once if there is none.
    Stream* stream = nullptr;
    long operation = 0;
};

using Shared = std::shared_ptr<Graph>;

bool breaks_now() {
    static const char* told = std::getenv("CUDA_HOST_LOST_AFTER");
    static const long after = told ? std::atol(told) : 0;
    return ++operations == after;
}

Result breakage = SUCCESS;

void catch_up_to(Stream* stream, long operation) {
    while (stream->done < operation && !stream->waiting.empty()) {
        const Work work = std::move(stream->waiting.front());
        stream->waiting.pop_front();
        ++stream->done;
        if (breaks_now()) breakage = ILLEGAL_ADDRESS;
        if (breakage == SUCCESS) work();
    }
}

}  // namespace

std::recursive_mutex& lock() {
    static std::recursive_mutex all;
    return all;
}

Result broken() { return breakage; }

void tell(Stream* stream, Work work) {
    if (stream->recording) {
        stream->recording->work.push_back(std::move(work));
        return;
    }
    stream->waiting.push_back(std::move(work));
    ++stream->told;
}

void catch_up(Stream* stream) { catch_up_to(stream, stream->told); }

void catch_up_all() {
    for (Stream* stream : streams) catch_up(stream);
}

bool is_recording() {
    for (const Stream* stream : streams) {
        if (stream->recording) return true;
    }
    return false;
}

API Result cuStreamCreate(Stream** stream, unsigned) {
    std::lock_guard guard(lock());
    *stream = *streams.insert(new Stream).first;
    return broken();
}

API Result cuStreamDestroy_v2(Stream* stream) {
    std::lock_guard guard(lock());
    catch_up(stream);
    streams.erase(stream);
    delete stream;
    return SUCCESS;
}

API Result cuStreamSynchronize(Named stream) {
    std::lock_guard guard(lock());
    if (stream->recording) misuse("a stream is waited for while it is recorded");
    catch_up(stream);
    return broken();
}

API Result cuCtxSynchronize() {
    std::lock_guard guard(lock());
    if (is_recording()) misuse("the context is waited for while a stream is recorded");
    catch_up_all();
    return broken();
}

API Result cuEventCreate(Event** event, unsigned) {
    *event = new Event;
    return broken();
}

API Result cuEventDestroy_v2(Event* event) {
    delete event;
    return SUCCESS;
}

API Result cuEventRecord(Event* event, Named stream) {
    std::lock_guard guard(lock());
    if (stream->recording) misuse("an event in a stream that is recorded");
    *event = {stream, stream->told};
    return broken();
}

API Result cuEventSynchronize(const Event* event) {
    std::lock_guard guard(lock());
    if (event->stream) catch_up_to(event->stream, event->operation);
    return broken();
}

API Result cuStreamWaitEvent(Named stream, const Event* event, unsigned) {
    std::lock_guard guard(lock());
    if (stream->recording) misuse("a stream that is recorded waits for an event");
    const Event until = *event;
    if (until.stream) tell(stream, [until] { catch_up_to(until.stream, until.operation); });
    return broken();
}

API Result cuStreamIsCapturing(Named stream, int* is) {
    std::lock_guard guard(lock());
    *is = stream->recording ? 1 : 0;
    return SUCCESS;
}

API Result cuStreamBeginCapture_v2(Named stream, int) {
    std::lock_guard guard(lock());
    if (stream->recording) misuse("a stream that is recorded is recorded");
    stream->recording = std::make_shared<Graph>();
    return broken();
}

API Result cuStreamEndCapture(Named stream, Shared** graph) {
    std::lock_guard guard(lock());
    const Shared recorded = std::move(stream->recording);
    stream->recording = nullptr;
    *graph = nullptr;
    if (broken() || !recorded) return broken() ? broken() : CAPTURE_UNSUPPORTED;
    for (Address address : recorded->taken) {
        if (!recorded->given_back.count(address)) misuse("memory that a graph takes at %llx is not given back in it", address);
    }
    *graph = new Shared(recorded);
    return SUCCESS;
}

API Result cuGraphInstantiateWithFlags(Shared** ready, const Shared* graph, unsigned long long) {
    std::lock_guard guard(lock());
    const Result reserved = memory::reserve_for_graphs((*graph)->bytes);
    if (reserved == SUCCESS) *ready = new Shared(*graph);
    return broken() ? broken() : reserved;
}

API Result cuGraphUpload(Shared*, Stream*) { return broken(); }

API Result cuGraphLaunch(const Shared* ready, Named stream) {
    std::lock_guard guard(lock());
    const Shared graph = *ready;
    tell(stream, [graph] {
        for (Address address : graph->taken) memory::spoil(address);
        for (const Work& work : graph->work) work();
    });
    return broken();
}

API Result cuGraphDestroy(Shared* graph) {
    delete graph;
    return SUCCESS;
}

API Result cuGraphExecDestroy(Shared* ready) {
    delete ready;
    return SUCCESS;
}
