// What lies between the matrix products of training/fast.py, in few passes: float32 inside, in memory bfloat16 where
// the CPU has products of it (AVX-512 BF16), else float32. Sizes are multiples of 16 except the keys of a softmax. One thread.
#include <torch/extension.h>

#include <cmath>
#include <cstring>
#include <vector>
#ifdef __AVX512BF16__
#include <immintrin.h>
#endif

using torch::Tensor;
typedef float v16 __attribute__((vector_size(64), aligned(4)));
typedef int i16 __attribute__((vector_size(64), aligned(4)));

static inline float *p32(const Tensor &t) { return t.data_ptr<float>(); }
static inline v16 all(float x) { return v16{} + x; }
static inline v16 load(const float *p) { return *(const v16 *)p; }
static inline void store(float *p, v16 v) { *(v16 *)p = v; }
static inline v16 most(v16 a, v16 b) { return a > b ? a : b; }
static inline v16 least(v16 a, v16 b) { return a < b ? a : b; }
static inline float sum_of(v16 v)
{
    float s = 0;
    for (int i = 0; i < 16; i++) s += v[i];
    return s;
}
static inline float top_of(v16 v)
{
    float s = v[0];
    for (int i = 1; i < 16; i++) s = v[i] > s ? v[i] : s;
    return s;
}

#ifdef __AVX512BF16__
typedef uint16_t el;
static const auto KIND = torch::kBFloat16;
static inline v16 get(const el *p)
{
    return (v16)_mm512_slli_epi32(_mm512_cvtepu16_epi32(_mm256_loadu_si256((const __m256i *)p)), 16);
}
static inline void put(el *p, v16 v) { _mm256_storeu_si256((__m256i *)p, (__m256i)_mm512_cvtneps_pbh((__m512)v)); }
static inline float wide(el x) { return c10::detail::f32_from_bits(x); }
static inline el narrow(float x) { return c10::BFloat16(x).x; }
#else
typedef float el;
static const auto KIND = torch::kFloat32;
static inline v16 get(const el *p) { return load(p); }
static inline void put(el *p, v16 v) { store(p, v); }
static inline float wide(el x) { return x; }
static inline el narrow(float x) { return x; }
#endif

static inline el *pe(const Tensor &t) { return reinterpret_cast<el *>(t.data_ptr()); }
static inline void copy(el *to, const el *from, int64_t n) { memcpy(to, from, n * sizeof(el)); }
static inline v16 get_some(const el *p, int n) // the first n of 16, zeros after them
{
    if (n == 16) return get(p);
    el part[16] = {};
    copy(part, p, n);
    return get(part);
}
static inline void put_some(el *p, v16 v, int n)
{
    if (n == 16) return put(p, v);
    el part[16];
    put(part, v);
    copy(p, part, n);
}

static inline v16 exp16(v16 x)
{
    v16 y = least(most(x, all(-87.0f)), all(88.0f)) * 1.44269504f;
    i16 n = __builtin_convertvector(y + (y < 0.0f ? all(-0.5f) : all(0.5f)), i16);
    v16 f = y - __builtin_convertvector(n, v16), r = all(1.5403530e-4f);
    const float c[] = {1.3333558e-3f, 9.6181291e-3f, 5.5504109e-2f, 2.4022651e-1f, 6.9314718e-1f, 1.0f};
    for (float v : c) r = r * f + v;
    return r * (v16)((n + 127) << 23);
}

static inline v16 sigmoid16(v16 x)
{
    v16 one = all(1.0f);
    return one / (one + exp16(all(0.0f) - x));
}

// x + y and its RMS norm; y may be empty. Returns sum, normed, 1/rms.
std::vector<Tensor> add_norm(Tensor x, Tensor y, Tensor w, double eps)
{
    int64_t m = x.size(0), d = x.size(1);
    bool plus = y.numel() > 0;
    Tensor s = plus ? torch::empty_like(x) : x, n = torch::empty({m, d}, x.options());
    Tensor r = torch::empty({m}, w.options());
    int64_t xs = x.stride(0), ss = s.stride(0);
    for (int64_t i = 0; i < m; i++) {
        const el *a = pe(x) + i * xs, *b = plus ? pe(y) + i * d : nullptr;
        el *o = pe(s) + i * ss, *q = pe(n) + i * d;
        v16 sum = all(0.0f);
        for (int64_t j = 0; j < d; j += 16) {
            v16 v = get(a + j);
            if (plus) {
                v = v + get(b + j);
                put(o + j, v);
                v = get(o + j);
            }
            sum = v * v + sum;
        }
        float k = 1.0f / std::sqrt(sum_of(sum) / d + (float)eps);
        p32(r)[i] = k;
        for (int64_t j = 0; j < d; j += 16)
            put(q + j, get(o + j) * all(k) * load(p32(w) + j));
    }
    return {s, n, r};
}

// Gradients of the sum (gs may be empty) and of the norm: d(sum), d(weight).
std::vector<Tensor> add_norm_back(Tensor gs, Tensor gn, Tensor s, Tensor r, Tensor w)
{
    int64_t m = s.size(0), d = s.size(1), st = s.stride(0);
    bool plus = gs.numel() > 0;
    Tensor out = torch::empty({m, d}, s.options()), dw = torch::zeros({d}, w.options());
    for (int64_t i = 0; i < m; i++) {
        const el *x = pe(s) + i * st, *g = pe(gn) + i * d, *h = plus ? pe(gs) + i * d : nullptr;
        el *o = pe(out) + i * d;
        v16 k = all(p32(r)[i]), dot = all(0.0f);
        for (int64_t j = 0; j < d; j += 16) {
            v16 n = get(x + j) * k, v = get(g + j);
            store(p32(dw) + j, n * v + load(p32(dw) + j));
            dot = n * v * load(p32(w) + j) + dot;
        }
        v16 c = all(sum_of(dot) / d);
        for (int64_t j = 0; j < d; j += 16) {
            v16 n = get(x + j) * k;
            v16 v = get(g + j) * load(p32(w) + j);
            v = (v - n * c) * k;
            put(o + j, plus ? v + get(h + j) : v);
        }
    }
    return {out, dw};
}

Tensor swiglu(Tensor h)
{
    int64_t m = h.size(0), d = h.size(1) / 2;
    Tensor out = torch::empty({m, d}, h.options());
    for (int64_t i = 0; i < m; i++) {
        const el *a = pe(h) + i * 2 * d, *b = a + d;
        el *o = pe(out) + i * d;
        for (int64_t j = 0; j < d; j += 16) {
            v16 g = get(a + j);
            put(o + j, g * sigmoid16(g) * get(b + j));
        }
    }
    return out;
}

Tensor swiglu_back(Tensor dout, Tensor h)
{
    int64_t m = h.size(0), d = h.size(1) / 2;
    Tensor out = torch::empty_like(h);
    v16 one = all(1.0f);
    for (int64_t i = 0; i < m; i++) {
        const el *a = pe(h) + i * 2 * d, *b = a + d, *e = pe(dout) + i * d;
        el *o = pe(out) + i * 2 * d;
        for (int64_t j = 0; j < d; j += 16) {
            v16 g = get(a + j), s = sigmoid16(g), gs = g * s, de = get(e + j);
            v16 slope = gs * (one - s) + s;
            put(o + j, de * get(b + j) * slope);
            put(o + d + j, de * gs);
        }
    }
    return out;
}

// [M,k] numbers of experts: source token of each sorted place, the sorted place of each choice, where experts end.
std::vector<Tensor> route(Tensor index, int64_t experts)
{
    int64_t m = index.size(0), k = index.size(1);
    auto i32 = torch::TensorOptions().dtype(torch::kInt32);
    Tensor source = torch::empty({m * k}, i32), back = torch::empty({m, k}, i32), ends = torch::zeros({experts}, torch::kInt64);
    const int64_t *e = index.data_ptr<int64_t>();
    std::vector<int64_t> at(experts + 1, 0);
    for (int64_t i = 0; i < m * k; i++) at[e[i] + 1]++;
    for (int64_t i = 0; i < experts; i++) at[i + 1] += at[i], ends.data_ptr<int64_t>()[i] = at[i + 1];
    for (int64_t i = 0; i < m * k; i++) {
        int64_t p = at[e[i]]++;
        source.data_ptr<int>()[p] = (int)(i / k);
        back.data_ptr<int>()[i] = (int)p;
    }
    return {source, back, ends};
}

Tensor gather(Tensor x, Tensor source)
{
    int64_t n = source.numel(), d = x.size(1);
    Tensor out = torch::empty({n, d}, x.options());
    for (int64_t i = 0; i < n; i++)
        copy(pe(out) + i * d, pe(x) + (int64_t)source.data_ptr<int>()[i] * d, d);
    return out;
}

// add[m] + sum of weight * y at a token's places; weight may be empty (all 1).
Tensor combine(Tensor y, Tensor back, Tensor weight, Tensor add)
{
    int64_t m = back.size(0), k = back.size(1), d = y.size(1);
    bool scaled = weight.numel() > 0, plus = add.numel() > 0;
    Tensor out = torch::empty({m, d}, y.options());
    for (int64_t i = 0; i < m; i++)
        for (int64_t j = 0; j < d; j += 16) {
            v16 v = plus ? get(pe(add) + i * d + j) : all(0.0f);
            for (int64_t c = 0; c < k; c++) {
                v16 w = all(scaled ? p32(weight)[i * k + c] : 1.0f);
                v = w * get(pe(y) + (int64_t)back.data_ptr<int>()[i * k + c] * d + j) + v;
            }
            put(pe(out) + i * d + j, v);
        }
    return out;
}

std::vector<Tensor> combine_back(Tensor g, Tensor y, Tensor back, Tensor weight)
{
    int64_t m = back.size(0), k = back.size(1), d = y.size(1);
    Tensor dy = torch::empty_like(y), dw = torch::empty_like(weight);
    for (int64_t i = 0; i < m; i++)
        for (int64_t c = 0; c < k; c++) {
            int64_t p = back.data_ptr<int>()[i * k + c];
            v16 w = all(p32(weight)[i * k + c]), dot = all(0.0f);
            for (int64_t j = 0; j < d; j += 16) {
                v16 v = get(pe(g) + i * d + j);
                dot = v * get(pe(y) + p * d + j) + dot;
                put(pe(dy) + p * d + j, v * w);
            }
            p32(dw)[i * k + c] = sum_of(dot);
        }
    return {dy, dw};
}

// Rope on pairs of the last 16 numbers; the half-split order comes out.
static inline void rope(const el *in, el *out, const float *c, const float *s, float scale)
{
    for (int i = 0; i < 8; i++) {
        float a = wide(in[2 * i]), b = wide(in[2 * i + 1]);
        out[i] = narrow((a * c[i] - b * s[i]) * scale), out[i + 8] = narrow((b * c[i] + a * s[i]) * scale);
    }
}

static inline void rope_back(const float *g, float *out, const float *c, const float *s)
{
    for (int i = 0; i < 8; i++) {
        out[2 * i] = g[i] * c[i] + g[i + 8] * s[i];
        out[2 * i + 1] = g[i + 8] * c[i] - g[i] * s[i];
    }
}

// Rows [start, start + blocks*len) of q [M,H*48] to [blocks,H,len,48], turned and scaled.
Tensor heads_q(Tensor q, Tensor cos, Tensor sin, int64_t start, int64_t blocks, int64_t len, int64_t heads, double scale)
{
    Tensor out = torch::empty({blocks * heads, len, 48}, q.options());
    int64_t ld = q.stride(0);
    v16 k = all((float)scale);
    for (int64_t b = 0; b < blocks; b++)
        for (int64_t t = 0; t < len; t++) {
            int64_t row = start + b * len + t;
            for (int64_t h = 0; h < heads; h++) {
                const el *x = pe(q) + row * ld + h * 48;
                el *o = pe(out) + ((b * heads + h) * len + t) * 48;
                put(o, get(x) * k), put(o + 16, get(x + 16) * k);
                rope(x + 32, o + 32, p32(cos) + row * 8, p32(sin) + row * 8, (float)scale);
            }
        }
    return out;
}

void heads_q_back(Tensor dq, Tensor out, Tensor cos, Tensor sin, int64_t start, int64_t blocks, int64_t len, int64_t heads, double scale)
{
    v16 k = all((float)scale);
    for (int64_t b = 0; b < blocks; b++)
        for (int64_t t = 0; t < len; t++) {
            int64_t row = start + b * len + t;
            for (int64_t h = 0; h < heads; h++) {
                const el *g = pe(dq) + ((b * heads + h) * len + t) * 48;
                el *o = pe(out) + (row * heads + h) * 48;
                put(o, get(g) * k), put(o + 16, get(g + 16) * k);
                float in[16], turned[16];
                store(in, get(g + 32) * k);
                rope_back(in, turned, p32(cos) + row * 8, p32(sin) + row * 8);
                put(o + 32, load(turned));
            }
        }
}

// wide [M,H*(32+32)] and the shared rope part [M,16] (strided) to keys [blocks,H,len,48] and values [blocks,H,len,32].
std::vector<Tensor> heads_kv(Tensor wide, Tensor k_rope, Tensor cos, Tensor sin, int64_t start, int64_t blocks, int64_t len, int64_t heads)
{
    Tensor k = torch::empty({blocks * heads, len, 48}, wide.options()), v = torch::empty({blocks * heads, len, 32}, wide.options());
    int64_t ld = k_rope.stride(0);
    for (int64_t b = 0; b < blocks; b++)
        for (int64_t t = 0; t < len; t++) {
            int64_t row = start + b * len + t;
            el turned[16];
            rope(pe(k_rope) + row * ld, turned, p32(cos) + row * 8, p32(sin) + row * 8, 1.0f);
            for (int64_t h = 0; h < heads; h++) {
                const el *x = pe(wide) + (row * heads + h) * 64;
                int64_t at = (b * heads + h) * len + t;
                copy(pe(k) + at * 48, x, 32), copy(pe(k) + at * 48 + 32, turned, 16);
                copy(pe(v) + at * 32, x + 32, 32);
            }
        }
    return {k, v};
}

void heads_kv_back(Tensor dk, Tensor dv, Tensor dwide, Tensor drope, Tensor cos, Tensor sin, int64_t start, int64_t blocks,
                   int64_t len, int64_t heads)
{
    for (int64_t b = 0; b < blocks; b++)
        for (int64_t t = 0; t < len; t++) {
            int64_t row = start + b * len + t;
            v16 sum = all(0.0f);
            for (int64_t h = 0; h < heads; h++) {
                int64_t at = (b * heads + h) * len + t;
                el *o = pe(dwide) + (row * heads + h) * 64;
                copy(o, pe(dk) + at * 48, 32), copy(o + 32, pe(dv) + at * 32, 32);
                sum = sum + get(pe(dk) + at * 48 + 32);
            }
            float in[16], turned[16];
            store(in, sum);
            rope_back(in, turned, p32(cos) + row * 8, p32(sin) + row * 8);
            put(pe(drope) + row * drope.stride(0), load(turned));
        }
}

static inline int tail(int64_t n, int64_t j) { return n - j >= 16 ? 16 : (int)(n - j); }

struct Span {
    el *p;
    int64_t from, to, size; // seen [from,to) of size
};

static void soften(Span *s, int count)
{
    const i16 lane = {0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15};
    v16 top = all(-1e30f), sum = all(0.0f);
    float e[2][256];
    for (int c = 0; c < count; c++)
        for (int64_t j = 0; j < s[c].size; j += 16) {
            i16 at = lane + (int)j;
            v16 v = get_some(s[c].p + j, tail(s[c].size, j));
            v = (at >= (int)s[c].from) & (at < (int)s[c].to) ? v : all(-1e30f);
            store(e[c] + j, v);
            top = most(top, v);
        }
    v16 t = all(top_of(top));
    for (int c = 0; c < count; c++)
        for (int64_t j = 0; j < s[c].size; j += 16) {
            v16 v = load(e[c] + j);
            v = v > -1e29f ? exp16(v - t) : all(0.0f);
            store(e[c] + j, v);
            sum = sum + v;
        }
    v16 k = all(1.0f / sum_of(sum));
    for (int c = 0; c < count; c++)
        for (int64_t j = 0; j < s[c].size; j += 16)
            put_some(s[c].p + j, load(e[c] + j) * k, tail(s[c].size, j));
}

// Causal softmax in place, [N,P,P].
void soften_prefix(Tensor s)
{
    int64_t n = s.size(0), p = s.size(1);
    for (int64_t b = 0; b < n; b++)
        for (int64_t t = 0; t < p; t++) {
            Span one = {pe(s) + (b * p + t) * p, 0, t + 1, p};
            soften(&one, 1);
        }
}

// Softmax over both in place: far [B*H,n*A,P], near [B*H,n,A,L]; first [B,n] the first real token; A the last of L.
void soften_turns(Tensor far, Tensor near, Tensor first, int64_t heads)
{
    int64_t n = near.size(1), a = near.size(2), l = near.size(3), p = far.size(2), rows = near.size(0);
    for (int64_t b = 0; b < rows; b++)
        for (int64_t j = 0; j < n; j++)
            for (int64_t t = 0; t < a; t++) {
                int64_t at = (b * n + j) * a + t, seen = l - a + t + 1, from = first.data_ptr<int>()[(b / heads) * n + j];
                Span two[2] = {{pe(far) + at * p, 0, p, p}, {pe(near) + at * l, from < seen ? from : seen, seen, l}};
                soften(two, 2);
            }
}

// d(scores) in place of d(probabilities): over rows of both parts together; near may be empty.
void soften_back(Tensor far, Tensor dfar, Tensor near, Tensor dnear)
{
    int64_t p = far.size(-1), rows = far.numel() / p, l = near.numel() ? near.size(-1) : 0;
    for (int64_t i = 0; i < rows; i++) {
        el *f = pe(far) + i * p, *df = pe(dfar) + i * p, *q = l ? pe(near) + i * l : nullptr, *dq = l ? pe(dnear) + i * l : nullptr;
        v16 dot = all(0.0f);
        for (int64_t j = 0; j < p; j += 16) dot = get_some(f + j, tail(p, j)) * get_some(df + j, tail(p, j)) + dot;
        for (int64_t j = 0; j < l; j += 16) dot = get_some(q + j, tail(l, j)) * get_some(dq + j, tail(l, j)) + dot;
        v16 k = all(sum_of(dot));
        for (int64_t j = 0; j < p; j += 16)
            put_some(df + j, get_some(f + j, tail(p, j)) * (get_some(df + j, tail(p, j)) - k), tail(p, j));
        for (int64_t j = 0; j < l; j += 16)
            put_some(dq + j, get_some(q + j, tail(l, j)) * (get_some(dq + j, tail(l, j)) - k), tail(l, j));
    }
}

// [blocks*H,len,32] (and another to add, or empty) into rows [start,...) of out [M,H*32], and back.
void heads_out(Tensor a, Tensor b, Tensor out, int64_t start, int64_t blocks, int64_t len, int64_t heads)
{
    bool plus = b.numel() > 0;
    for (int64_t i = 0; i < blocks; i++)
        for (int64_t t = 0; t < len; t++)
            for (int64_t h = 0; h < heads; h++) {
                int64_t at = ((i * heads + h) * len + t) * 32;
                el *o = pe(out) + ((start + i * len + t) * heads + h) * 32;
                for (int j = 0; j < 32; j += 16) {
                    v16 v = get(pe(a) + at + j);
                    put(o + j, plus ? v + get(pe(b) + at + j) : v);
                }
            }
}

Tensor heads_out_back(Tensor g, int64_t start, int64_t blocks, int64_t len, int64_t heads)
{
    Tensor out = torch::empty({blocks * heads, len, 32}, g.options());
    for (int64_t i = 0; i < blocks; i++)
        for (int64_t t = 0; t < len; t++)
            for (int64_t h = 0; h < heads; h++)
                copy(pe(out) + ((i * heads + h) * len + t) * 32, pe(g) + ((start + i * len + t) * heads + h) * 32, 32);
    return out;
}

// Rows of a float32 table as bfloat16, and the gradient back.
Tensor look_up(Tensor table, Tensor source)
{
    int64_t n = source.numel(), d = table.size(1);
    Tensor out = torch::empty({n, d}, table.options().dtype(KIND));
    for (int64_t i = 0; i < n; i++) {
        const float *x = p32(table) + source.data_ptr<int64_t>()[i] * d;
        for (int64_t j = 0; j < d; j += 16) put(pe(out) + i * d + j, load(x + j));
    }
    return out;
}

Tensor look_up_back(Tensor g, Tensor source, int64_t rows)
{
    int64_t n = source.numel(), d = g.size(1);
    Tensor out = torch::zeros({rows, d}, torch::kFloat32);
    for (int64_t i = 0; i < n; i++) {
        float *o = p32(out) + source.data_ptr<int64_t>()[i] * d;
        for (int64_t j = 0; j < d; j += 16) store(o + j, load(o + j) + get(pe(g) + i * d + j));
    }
    return out;
}

// The tower's GELU (tanh form) and its derivative, over any number of elements that is a multiple of 16.
static inline v16 tanh_part(v16 x, v16 *slope)
{
    const v16 a = all(0.79788456f), b = all(0.044715f), one = all(1.0f);
    v16 x2 = x * x;
    v16 u = a * x * (b * x2 + one);
    *slope = a * (all(3 * 0.044715f) * x2 + one);
    return sigmoid16(u + u); // (1 + tanh u) / 2
}

Tensor gelu(Tensor x)
{
    Tensor out = torch::empty_like(x);
    for (int64_t i = 0; i < x.numel(); i += 16) {
        v16 v = get(pe(x) + i), s;
        put(pe(out) + i, v * tanh_part(v, &s));
    }
    return out;
}

Tensor gelu_back(Tensor g, Tensor x)
{
    Tensor out = torch::empty_like(x);
    const v16 one = all(1.0f), two = all(2.0f);
    for (int64_t i = 0; i < x.numel(); i += 16) {
        v16 v = get(pe(x) + i), s, h = tanh_part(v, &s);
        v16 d = two * v * s * h * (one - h) + h;
        put(pe(out) + i, d * get(pe(g) + i));
    }
    return out;
}

PYBIND11_MODULE(TORCH_EXTENSION_NAME, m)
{
    m.def("add_norm", &add_norm), m.def("add_norm_back", &add_norm_back);
    m.def("swiglu", &swiglu), m.def("swiglu_back", &swiglu_back);
    m.def("route", &route), m.def("gather", &gather), m.def("combine", &combine), m.def("combine_back", &combine_back);
    m.def("heads_q", &heads_q), m.def("heads_q_back", &heads_q_back), m.def("heads_kv", &heads_kv), m.def("heads_kv_back", &heads_kv_back);
    m.def("soften_prefix", &soften_prefix), m.def("soften_turns", &soften_turns), m.def("soften_back", &soften_back);
    m.def("heads_out", &heads_out), m.def("heads_out_back", &heads_out_back);
    m.def("look_up", &look_up), m.def("look_up_back", &look_up_back), m.def("gelu", &gelu), m.def("gelu_back", &gelu_back);
}
