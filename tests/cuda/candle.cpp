// Candle's own kernels, as far as models use them, by their names: what each gives, one number after the other.
//
// The source of their meaning and parameters: candle-kernels 0.11, src/*.cu.
#include <cmath>
#include <cstring>
#include <map>
#include <string>
#include <string_view>

#include "driver.hpp"
#include "numbers.hpp"

namespace {

template <class T>
T parameter(void** all, int at) {
    T value;
    std::memcpy(&value, all[at], sizeof value);
    return value;
}

// Where numbers of a tensor lie that need not be in one piece: `parts` sets of strides follow the dimensions. Null: all in a row.
struct Layout {
    size_t rank;
    const size_t* dims;

    size_t at(size_t number, size_t part = 0) const {
        if (!dims) return number;
        const size_t* strides = dims + (part + 1) * rank;
        size_t place = 0;
        for (size_t dim = rank; dim-- > 0; number /= dims[dim]) place += number % dims[dim] * strides[dim];
        return place;
    }
};

template <class T>
void check(const char* what, const T* numbers, size_t count) {
    memory::check(what, numbers, count * sizeof(T));
}

// `out[i] = function(in[i])`; the parameters begin with count, rank and layout.
template <class In, class Out, class Function>
Work each(void** all, Function function) {
    const size_t count = parameter<size_t>(all, 0);
    const Layout layout = {parameter<size_t>(all, 1), parameter<const size_t*>(all, 2)};
    const auto in = parameter<const In*>(all, 3);
    const auto out = parameter<Out*>(all, 4);
    return [=] {
        check("numbers", out, count);
        for (size_t i = 0; i < count; ++i) out[i] = static_cast<Out>(function(in ? in[layout.at(i)] : static_cast<In>(out[i])));
    };
}

// `out[i] = function(left[i], right[i])`.
template <class In, class Out, class Function>
Work pairs(void** all, Function function) {
    const size_t count = parameter<size_t>(all, 0);
    const Layout layout = {parameter<size_t>(all, 1), parameter<const size_t*>(all, 2)};
    const auto left = parameter<const In*>(all, 3), right = parameter<const In*>(all, 4);
    const auto out = parameter<Out*>(all, 5);
    return [=] {
        check("numbers", out, count);
        for (size_t i = 0; i < count; ++i) out[i] = static_cast<Out>(function(left[layout.at(i)], right[layout.at(i, 1)]));
    };
}

template <class T, class Condition>
Work choose(void** all) {
    const size_t count = parameter<size_t>(all, 0);
    const Layout layout = {parameter<size_t>(all, 1), parameter<const size_t*>(all, 2)};
    const auto conditions = parameter<const Condition*>(all, 3);
    const auto then = parameter<const T*>(all, 4), otherwise = parameter<const T*>(all, 5);
    const auto out = parameter<T*>(all, 6);
    return [=] {
        check("choices", out, count);
        for (size_t i = 0; i < count; ++i) out[i] = conditions[layout.at(i)] ? then[layout.at(i, 1)] : otherwise[layout.at(i, 2)];
    };
}

template <class T>
Work affine(void** all) {
    const float factor = parameter<T>(all, 5), summand = parameter<T>(all, 6);
    return each<T, T>(all, [=](float value) { return value * factor + summand; });
}

template <class T>
Work fill(void** all) {
    const auto out = parameter<T*>(all, 0);
    const T value = parameter<T>(all, 1);
    const size_t count = parameter<size_t>(all, 2);
    return [=] {
        check("a filling", out, count);
        std::fill(out, out + count, value);
    };
}

template <class T>
Work set(void** all) {
    const size_t count = parameter<size_t>(all, 0);
    const Layout layout = {parameter<size_t>(all, 1), parameter<const size_t*>(all, 2)};
    const T value = parameter<T>(all, 3);
    const auto out = parameter<T*>(all, 4);
    return [=] {
        for (size_t i = 0; i < count; ++i) out[layout.at(i)] = value;
    };
}

template <class T>
Work copy_rows(void** all) {
    const auto from = parameter<const T*>(all, 0);
    const auto to = parameter<T*>(all, 1);
    const size_t rows = parameter<uint32_t>(all, 2), width = parameter<uint32_t>(all, 3);
    const size_t from_step = parameter<uint32_t>(all, 4), to_step = parameter<uint32_t>(all, 5);
    return [=] {
        for (size_t row = 0; row < rows; ++row) {
            check("rows", from + row * from_step, width);
            check("rows", to + row * to_step, width);
            std::memcpy(to + row * to_step, from + row * from_step, width * sizeof(T));
        }
    };
}

template <class T>
Work sum_rows(void** all, size_t rows) {
    const size_t width = parameter<size_t>(all, 1);
    const Layout layout = {parameter<size_t>(all, 2), parameter<const size_t*>(all, 3)};
    const auto in = parameter<const T*>(all, 4);
    const auto out = parameter<T*>(all, 5);
    return [=] {
        check("sums", out, rows);
        for (size_t row = 0; row < rows; ++row) {
            float sum = 0;
            for (size_t i = row * width; i < (row + 1) * width; ++i) sum += in[layout.at(i)];
            out[row] = sum;
        }
    };
}

template <class T>
Work softmax(void** all, size_t rows) {
    const auto in = parameter<const T*>(all, 0);
    const auto out = parameter<T*>(all, 1);
    const size_t width = static_cast<size_t>(parameter<int>(all, 2));
    return [=] {
        check("a softmax", out, rows * width);
        for (const T* row = in; row < in + rows * width; row += width) {
            float most = -INFINITY, sum = 0;
            for (size_t i = 0; i < width; ++i) most = std::fmax(most, row[i]);
            for (size_t i = 0; i < width; ++i) sum += std::exp(row[i] - most);
            for (size_t i = 0; i < width; ++i) out[row - in + i] = std::exp(row[i] - most) / sum;
        }
    };
}

template <class T>
Work select_rows(void** all) {
    const size_t count = parameter<size_t>(all, 0);
    const Layout layout = {parameter<size_t>(all, 1), parameter<const size_t*>(all, 2)};
    const auto ids = parameter<const uint32_t*>(all, 3);
    const auto in = parameter<const T*>(all, 4);
    const auto out = parameter<T*>(all, 5);
    const size_t entries = parameter<size_t>(all, 7), wanted = parameter<size_t>(all, 8), width = parameter<size_t>(all, 9);
    return [=] {
        check("what is looked up", out, count);
        for (size_t i = 0; i < count; ++i) {
            const size_t outer = i / (wanted * width), id = ids[i / width % wanted];
            if (id >= entries) misuse("entry %zu of %zu is looked up", id, entries);
            out[i] = in[layout.at((outer * entries + id) * width + i % width)];
        }
    };
}

// Pictures `[rows, channels, height, width]` with their strides.
struct Pictures {
    size_t rows, channels, height, width, steps[4];

    // Read when the work is done: it is in the device's memory.
    explicit Pictures(const size_t* info)
        : rows(info[0]), channels(info[1]), height(info[2]), width(info[3]), steps{info[4], info[5], info[6], info[7]} {}
    size_t at(size_t row, size_t channel, size_t y, size_t x) const {
        return row * steps[0] + channel * steps[1] + y * steps[2] + x * steps[3];
    }
};

// `[rows, out height, out width, channels, kernel height, kernel width]` of pictures.
template <class T>
Work patches(void** all) {
    enum { COUNT, DOWN, ACROSS, KERNEL_DOWN, KERNEL_ACROSS, STRIDE, PADDING, DILATION };
    size_t is[8];
    for (int at = 0; at < 8; ++at) is[at] = parameter<size_t>(all, at);
    const auto info = parameter<const size_t*>(all, 8);
    const auto in = parameter<const T*>(all, 9);
    const auto out = parameter<T*>(all, 10);
    return [=] {
        check("patches", out, is[COUNT]);
        const Pictures from(info);
        size_t to = 0;
        for (size_t row = 0; row < from.rows; ++row)
            for (size_t y = 0; y < is[DOWN]; ++y)
                for (size_t x = 0; x < is[ACROSS]; ++x)
                    for (size_t channel = 0; channel < from.channels; ++channel)
                        for (size_t ky = 0; ky < is[KERNEL_DOWN]; ++ky)
                            for (size_t kx = 0; kx < is[KERNEL_ACROSS]; ++kx) {
                                // Beyond the padding these wrap round, and are beyond the picture.
                                const size_t at_y = y * is[STRIDE] + ky * is[DILATION] - is[PADDING];
                                const size_t at_x = x * is[STRIDE] + kx * is[DILATION] - is[PADDING];
                                const bool is_inside = at_y < from.height && at_x < from.width;
                                out[to++] = is_inside ? in[from.at(row, channel, at_y, at_x)] : static_cast<T>(0.0f);
                            }
    };
}

// The largest number, or the mean, of each window.
template <class T>
Work pool(void** all, bool is_mean) {
    const size_t across = parameter<size_t>(all, 1), down = parameter<size_t>(all, 2);
    const size_t step_across = parameter<size_t>(all, 3), step_down = parameter<size_t>(all, 4);
    const auto info = parameter<const size_t*>(all, 5);
    const auto in = parameter<const T*>(all, 6);
    const auto out = parameter<T*>(all, 7);
    return [=] {
        // Candle has the width before the height here.
        const Pictures from(info);
        size_t to = 0;
        for (size_t row = 0; row < from.rows; ++row)
            for (size_t channel = 0; channel < from.channels; ++channel)
                for (size_t x = 0; x + across <= from.height; x += step_across)
                    for (size_t y = 0; y + down <= from.width; y += step_down) {
                        float most = -INFINITY, sum = 0;
                        for (size_t i = 0; i < across * down; ++i) {
                            const float value = in[from.at(row, channel, x + i / down, y + i % down)];
                            most = value > most || value != value ? value : most;
                            sum += value;
                        }
                        out[to++] = is_mean ? sum / static_cast<float>(across * down) : most;
                    }
        check("windows", out, to);
    };
}

// Functions of a number, and of two, by their names.
float relu(float x) { return x < 0 ? 0 : x; }
float sigmoid(float x) { return 1 / (1 + std::exp(-x)); }
float silu(float x) { return x * sigmoid(x); }
float gelu(float x) { return 0.5f * x * (1 + std::erf(x / std::sqrt(2.0f))); }
float gelu_tanh(float x) { return 0.5f * x * (1 + std::tanh(std::sqrt(2 / 3.14159265f) * (x + 0.044715f * x * x * x))); }

const std::map<std::string_view, float (*)(float)> OF_ONE = {
    {"uexp", [](float x) { return std::exp(x); }},   {"usqr", [](float x) { return x * x; }},
    {"usqrt", [](float x) { return std::sqrt(x); }}, {"urecip", [](float x) { return 1 / x; }},
    {"uneg", [](float x) { return -x; }},            {"ucopy", [](float x) { return x; }},
    {"utanh", [](float x) { return std::tanh(x); }}, {"urelu", relu},
    {"usigmoid", sigmoid},                           {"usilu", silu},
    {"ugelu_erf", gelu},                             {"ugelu", gelu_tanh},
};
const std::map<std::string_view, float (*)(float, float)> OF_TWO = {
    {"badd", [](float x, float y) { return x + y; }}, {"bsub", [](float x, float y) { return x - y; }},
    {"bmul", [](float x, float y) { return x * y; }}, {"bdiv", [](float x, float y) { return x / y; }},
    {"bmaximum", [](float x, float y) { return x > y ? x : y; }}, {"bminimum", [](float x, float y) { return x < y ? x : y; }},
};
const std::map<std::string_view, bool (*)(float, float)> COMPARISONS = {
    {"lt", [](float x, float y) { return x < y; }},  {"le", [](float x, float y) { return x <= y; }},
    {"gt", [](float x, float y) { return x > y; }},  {"ge", [](float x, float y) { return x >= y; }},
    {"eq", [](float x, float y) { return x == y; }}, {"ne", [](float x, float y) { return x != y; }},
};

template <class Map>
auto find(const Map& map, std::string_view name) {
    const auto found = map.find(name);
    return found == map.end() ? nullptr : found->second;
}

// A kernel by its name without the type.
template <class T>
Work of_type(std::string_view name, void** all, unsigned blocks) {
    if (const auto function = find(OF_ONE, name)) return each<T, T>(all, function);
    if (const auto function = find(OF_TWO, name)) return pairs<T, T>(all, function);
    if (const auto function = find(COMPARISONS, name)) return pairs<T, uint8_t>(all, function);
    if (name == "cast_u8") return each<uint8_t, T>(all, [](uint8_t x) { return static_cast<float>(x); });
    if (name == "cast_f32") return each<float, T>(all, [](float x) { return x; });
    if (name == "cast_f16") return each<F16, T>(all, [](F16 x) { return static_cast<float>(x); });
    if (name == "cast_bf16") return each<Bf16, T>(all, [](Bf16 x) { return static_cast<float>(x); });
    if (name == "where_u8") return choose<T, uint8_t>(all);
    if (name == "where_u32") return choose<T, uint32_t>(all);
    if (name == "affine") return affine<T>(all);
    if (name == "fill") return fill<T>(all);
    if (name == "const_set") return set<T>(all);
    if (name == "copy2d") return copy_rows<T>(all);
    if (name == "fast_sum") return sum_rows<T>(all, blocks);
    if (name == "fast_sum_small") return sum_rows<T>(all, parameter<size_t>(all, 0));
    if (name == "softmax") return softmax<T>(all, blocks);
    if (name == "is_u32") return select_rows<T>(all);
    if (name == "im2col") return patches<T>(all);
    if (name == "max_pool2d" || name == "avg_pool2d") return pool<T>(all, name.front() == 'a');
    return {};
}

}  // namespace

Work candle_kernel(const char* name, void** parameters, unsigned blocks) {
    const std::string_view all = name;
    const size_t cut = all.rfind('_');
    const std::string_view kernel = all.substr(0, cut), type = all.substr(cut + 1);
    if (type == "f32") return of_type<float>(kernel, parameters, blocks);
    if (type == "f16") return of_type<F16>(kernel, parameters, blocks);
    if (type == "bf16") return of_type<Bf16>(kernel, parameters, blocks);
    if (type != "u32") return {};
    if (kernel == "ucopy") return each<uint32_t, uint32_t>(parameters, [](uint32_t x) { return x; });
    if (kernel == "fill") return fill<uint32_t>(parameters);
    if (kernel == "const_set") return set<uint32_t>(parameters);
    return kernel == "copy2d" ? copy_rows<uint32_t>(parameters) : Work();
}
