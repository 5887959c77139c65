// What lies between the matrix products of training/fast.py, in few passes: bfloat16 in memory, float32 inside.
// AVX-512 with bfloat16 conversion; sizes are multiples of 16 except the keys of a softmax. One thread.
#include <immintrin.h>
#include <torch/extension.h>

#include <cmath>
#include <vector>

using torch::Tensor;
using u16 = uint16_t;

static inline u16 *p16(const Tensor &t) { return reinterpret_cast<u16 *>(t.data_ptr()); }
static inline float *p32(const Tensor &t) { return t.data_ptr<float>(); }
static inline __m512 get(const u16 *p)
{
    return _mm512_castsi512_ps(_mm512_slli_epi32(_mm512_cvtepu16_epi32(_mm256_loadu_si256((const __m256i *)p)), 16));
}
static inline void put(u16 *p, __m512 v) { _mm256_storeu_si256((__m256i *)p, (__m256i)_mm512_cvtneps_pbh(v)); }
static inline __m512 get_some(const u16 *p, __mmask16 m)
{
    return _mm512_castsi512_ps(_mm512_slli_epi32(_mm512_cvtepu16_epi32(_mm256_maskz_loadu_epi16(m, p)), 16));
}
static inline void put_some(u16 *p, __m512 v, __mmask16 m)
{
    _mm256_mask_storeu_epi16(p, m, (__m256i)_mm512_cvtneps_pbh(v));
}

static inline __m512 exp16(__m512 x)
{
    x = _mm512_max_ps(_mm512_min_ps(x, _mm512_set1_ps(88.0f)), _mm512_set1_ps(-87.0f));
    __m512 y = _mm512_mul_ps(x, _mm512_set1_ps(1.44269504f));
    __m512 n = _mm512_roundscale_ps(y, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC);
    __m512 f = _mm512_sub_ps(y, n);
    __m512 r = _mm512_set1_ps(1.5403530e-4f);
    const float c[] = {1.3333558e-3f, 9.6181291e-3f, 5.5504109e-2f, 2.4022651e-1f, 6.9314718e-1f, 1.0f};
    for (float v : c) r = _mm512_fmadd_ps(r, f, _mm512_set1_ps(v));
    return _mm512_scalef_ps(r, n);
}

static inline __m512 sigmoid16(__m512 x)
{
    __m512 one = _mm512_set1_ps(1.0f);
    return _mm512_div_ps(one, _mm512_add_ps(one, exp16(_mm512_sub_ps(_mm512_setzero_ps(), x))));
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
        const u16 *a = p16(x) + i * xs, *b = plus ? p16(y) + i * d : nullptr;
        u16 *o = p16(s) + i * ss, *q = p16(n) + i * d;
        __m512 sum = _mm512_setzero_ps();
        for (int64_t j = 0; j < d; j += 16) {
            __m512 v = get(a + j);
            if (plus) {
                v = _mm512_add_ps(v, get(b + j));
                put(o + j, v);
                v = get(o + j);
            }
            sum = _mm512_fmadd_ps(v, v, sum);
        }
        float k = 1.0f / std::sqrt(_mm512_reduce_add_ps(sum) / d + (float)eps);
        p32(r)[i] = k;
        for (int64_t j = 0; j < d; j += 16)
            put(q + j, _mm512_mul_ps(_mm512_mul_ps(get(o + j), _mm512_set1_ps(k)), _mm512_loadu_ps(p32(w) + j)));
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
        const u16 *x = p16(s) + i * st, *g = p16(gn) + i * d, *h = plus ? p16(gs) + i * d : nullptr;
        u16 *o = p16(out) + i * d;
        __m512 k = _mm512_set1_ps(p32(r)[i]), dot = _mm512_setzero_ps();
        for (int64_t j = 0; j < d; j += 16) {
            __m512 n = _mm512_mul_ps(get(x + j), k), v = get(g + j);
            _mm512_storeu_ps(p32(dw) + j, _mm512_fmadd_ps(n, v, _mm512_loadu_ps(p32(dw) + j)));
            dot = _mm512_fmadd_ps(n, _mm512_mul_ps(v, _mm512_loadu_ps(p32(w) + j)), dot);
        }
        __m512 c = _mm512_set1_ps(_mm512_reduce_add_ps(dot) / d);
        for (int64_t j = 0; j < d; j += 16) {
            __m512 n = _mm512_mul_ps(get(x + j), k);
            __m512 v = _mm512_mul_ps(get(g + j), _mm512_loadu_ps(p32(w) + j));
            v = _mm512_mul_ps(_mm512_fnmadd_ps(n, c, v), k);
            put(o + j, plus ? _mm512_add_ps(v, get(h + j)) : v);
        }
    }
    return {out, dw};
}

Tensor swiglu(Tensor h)
{
    int64_t m = h.size(0), d = h.size(1) / 2;
    Tensor out = torch::empty({m, d}, h.options());
    for (int64_t i = 0; i < m; i++) {
        const u16 *a = p16(h) + i * 2 * d, *b = a + d;
        u16 *o = p16(out) + i * d;
        for (int64_t j = 0; j < d; j += 16) {
            __m512 g = get(a + j);
            put(o + j, _mm512_mul_ps(_mm512_mul_ps(g, sigmoid16(g)), get(b + j)));
        }
    }
    return out;
}

Tensor swiglu_back(Tensor dout, Tensor h)
{
    int64_t m = h.size(0), d = h.size(1) / 2;
    Tensor out = torch::empty_like(h);
    __m512 one = _mm512_set1_ps(1.0f);
    for (int64_t i = 0; i < m; i++) {
        const u16 *a = p16(h) + i * 2 * d, *b = a + d, *e = p16(dout) + i * d;
        u16 *o = p16(out) + i * 2 * d;
        for (int64_t j = 0; j < d; j += 16) {
            __m512 g = get(a + j), s = sigmoid16(g), gs = _mm512_mul_ps(g, s), de = get(e + j);
            __m512 slope = _mm512_fmadd_ps(gs, _mm512_sub_ps(one, s), s);
            put(o + j, _mm512_mul_ps(_mm512_mul_ps(de, get(b + j)), slope));
            put(o + d + j, _mm512_mul_ps(de, gs));
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
        memcpy(p16(out) + i * d, p16(x) + (int64_t)source.data_ptr<int>()[i] * d, d * 2);
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
            __m512 v = plus ? get(p16(add) + i * d + j) : _mm512_setzero_ps();
            for (int64_t c = 0; c < k; c++) {
                __m512 w = _mm512_set1_ps(scaled ? p32(weight)[i * k + c] : 1.0f);
                v = _mm512_fmadd_ps(w, get(p16(y) + (int64_t)back.data_ptr<int>()[i * k + c] * d + j), v);
            }
            put(p16(out) + i * d + j, v);
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
            __m512 w = _mm512_set1_ps(p32(weight)[i * k + c]), dot = _mm512_setzero_ps();
            for (int64_t j = 0; j < d; j += 16) {
                __m512 v = get(p16(g) + i * d + j);
                dot = _mm512_fmadd_ps(v, get(p16(y) + p * d + j), dot);
                put(p16(dy) + p * d + j, _mm512_mul_ps(v, w));
            }
            p32(dw)[i * k + c] = _mm512_reduce_add_ps(dot);
        }
    return {dy, dw};
}

// Rope on pairs of the last 16 numbers; the half-split order comes out.
static inline void rope(const u16 *in, u16 *out, const float *c, const float *s, float scale)
{
    for (int i = 0; i < 8; i++) {
        uint32_t ab[2] = {(uint32_t)in[2 * i] << 16, (uint32_t)in[2 * i + 1] << 16};
        float a, b;
        memcpy(&a, ab, 4), memcpy(&b, ab + 1, 4);
        float v[2] = {(a * c[i] - b * s[i]) * scale, (b * c[i] + a * s[i]) * scale};
        out[i] = c10::BFloat16(v[0]).x, out[i + 8] = c10::BFloat16(v[1]).x;
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
    __m512 k = _mm512_set1_ps((float)scale);
    for (int64_t b = 0; b < blocks; b++)
        for (int64_t t = 0; t < len; t++) {
            int64_t row = start + b * len + t;
            for (int64_t h = 0; h < heads; h++) {
                const u16 *x = p16(q) + row * ld + h * 48;
                u16 *o = p16(out) + ((b * heads + h) * len + t) * 48;
                put(o, _mm512_mul_ps(get(x), k)), put(o + 16, _mm512_mul_ps(get(x + 16), k));
                rope(x + 32, o + 32, p32(cos) + row * 8, p32(sin) + row * 8, (float)scale);
            }
        }
    return out;
}

void heads_q_back(Tensor dq, Tensor out, Tensor cos, Tensor sin, int64_t start, int64_t blocks, int64_t len, int64_t heads, double scale)
{
    __m512 k = _mm512_set1_ps((float)scale);
    for (int64_t b = 0; b < blocks; b++)
        for (int64_t t = 0; t < len; t++) {
            int64_t row = start + b * len + t;
            for (int64_t h = 0; h < heads; h++) {
                const u16 *g = p16(dq) + ((b * heads + h) * len + t) * 48;
                u16 *o = p16(out) + (row * heads + h) * 48;
                put(o, _mm512_mul_ps(get(g), k)), put(o + 16, _mm512_mul_ps(get(g + 16), k));
                float in[16], turned[16];
                _mm512_storeu_ps(in, _mm512_mul_ps(get(g + 32), k));
                rope_back(in, turned, p32(cos) + row * 8, p32(sin) + row * 8);
                put(o + 32, _mm512_loadu_ps(turned));
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
            u16 turned[16];
            rope(p16(k_rope) + row * ld, turned, p32(cos) + row * 8, p32(sin) + row * 8, 1.0f);
            for (int64_t h = 0; h < heads; h++) {
                const u16 *x = p16(wide) + (row * heads + h) * 64;
                int64_t at = (b * heads + h) * len + t;
                memcpy(p16(k) + at * 48, x, 64), memcpy(p16(k) + at * 48 + 32, turned, 32);
                memcpy(p16(v) + at * 32, x + 32, 64);
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
            __m512 sum = _mm512_setzero_ps();
            for (int64_t h = 0; h < heads; h++) {
                int64_t at = (b * heads + h) * len + t;
                u16 *o = p16(dwide) + (row * heads + h) * 64;
                memcpy(o, p16(dk) + at * 48, 64), memcpy(o + 32, p16(dv) + at * 32, 64);
                sum = _mm512_add_ps(sum, get(p16(dk) + at * 48 + 32));
            }
            float in[16], turned[16];
            _mm512_storeu_ps(in, sum);
            rope_back(in, turned, p32(cos) + row * 8, p32(sin) + row * 8);
            put(p16(drope) + row * drope.stride(0), _mm512_loadu_ps(turned));
        }
}

static inline __mmask16 tail(int64_t n, int64_t j) { return n - j >= 16 ? 0xffff : (__mmask16)((1u << (n - j)) - 1); }

struct Span {
    u16 *p;
    int64_t from, to, size; // seen [from,to) of size
};

static void soften(Span *s, int count)
{
    __m512 top = _mm512_set1_ps(-1e30f), sum = _mm512_setzero_ps();
    for (int c = 0; c < count; c++)
        for (int64_t j = 0; j < s[c].size; j += 16) {
            __mmask16 m = tail(s[c].to, j < s[c].to ? j : s[c].to) & ~(j < s[c].from ? (s[c].from - j >= 16 ? 0xffff : (1u << (s[c].from - j)) - 1) : 0);
            top = _mm512_mask_max_ps(top, m, top, get_some(s[c].p + j, m));
        }
    __m512 t = _mm512_set1_ps(_mm512_reduce_max_ps(top));
    float e[8][256];
    for (int c = 0; c < count; c++)
        for (int64_t j = 0; j < s[c].size; j += 16) {
            __mmask16 m = tail(s[c].to, j < s[c].to ? j : s[c].to) & ~(j < s[c].from ? (s[c].from - j >= 16 ? 0xffff : (1u << (s[c].from - j)) - 1) : 0);
            __m512 v = _mm512_maskz_mov_ps(m, exp16(_mm512_sub_ps(get_some(s[c].p + j, m), t)));
            _mm512_storeu_ps(e[c] + j, v);
            sum = _mm512_add_ps(sum, v);
        }
    __m512 k = _mm512_set1_ps(1.0f / _mm512_reduce_add_ps(sum));
    for (int c = 0; c < count; c++)
        for (int64_t j = 0; j < s[c].size; j += 16)
            put_some(s[c].p + j, _mm512_mul_ps(_mm512_loadu_ps(e[c] + j), k), tail(s[c].size, j));
}

// Causal softmax in place, [N,P,P].
void soften_prefix(Tensor s)
{
    int64_t n = s.size(0), p = s.size(1);
    for (int64_t b = 0; b < n; b++)
        for (int64_t t = 0; t < p; t++) {
            Span one = {p16(s) + (b * p + t) * p, 0, t + 1, p};
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
                Span two[2] = {{p16(far) + at * p, 0, p, p}, {p16(near) + at * l, from < seen ? from : seen, seen, l}};
                soften(two, 2);
            }
}

// d(scores) in place of d(probabilities): over rows of both parts together; near may be empty.
void soften_back(Tensor far, Tensor dfar, Tensor near, Tensor dnear)
{
    int64_t p = far.size(-1), rows = far.numel() / p, l = near.numel() ? near.size(-1) : 0;
    for (int64_t i = 0; i < rows; i++) {
        u16 *f = p16(far) + i * p, *df = p16(dfar) + i * p, *q = l ? p16(near) + i * l : nullptr, *dq = l ? p16(dnear) + i * l : nullptr;
        __m512 dot = _mm512_setzero_ps();
        for (int64_t j = 0; j < p; j += 16) dot = _mm512_fmadd_ps(get_some(f + j, tail(p, j)), get_some(df + j, tail(p, j)), dot);
        for (int64_t j = 0; j < l; j += 16) dot = _mm512_fmadd_ps(get_some(q + j, tail(l, j)), get_some(dq + j, tail(l, j)), dot);
        __m512 k = _mm512_set1_ps(_mm512_reduce_add_ps(dot));
        for (int64_t j = 0; j < p; j += 16)
            put_some(df + j, _mm512_mul_ps(get_some(f + j, tail(p, j)), _mm512_sub_ps(get_some(df + j, tail(p, j)), k)), tail(p, j));
        for (int64_t j = 0; j < l; j += 16)
            put_some(dq + j, _mm512_mul_ps(get_some(q + j, tail(l, j)), _mm512_sub_ps(get_some(dq + j, tail(l, j)), k)), tail(l, j));
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
                u16 *o = p16(out) + ((start + i * len + t) * heads + h) * 32;
                for (int j = 0; j < 32; j += 16) {
                    __m512 v = get(p16(a) + at + j);
                    put(o + j, plus ? _mm512_add_ps(v, get(p16(b) + at + j)) : v);
                }
            }
}

Tensor heads_out_back(Tensor g, int64_t start, int64_t blocks, int64_t len, int64_t heads)
{
    Tensor out = torch::empty({blocks * heads, len, 32}, g.options());
    for (int64_t i = 0; i < blocks; i++)
        for (int64_t t = 0; t < len; t++)
            for (int64_t h = 0; h < heads; h++)
                memcpy(p16(out) + ((i * heads + h) * len + t) * 32, p16(g) + ((start + i * len + t) * heads + h) * 32, 64);
    return out;
}

// Rows of a float32 table as bfloat16, and the gradient back.
Tensor look_up(Tensor table, Tensor source)
{
    int64_t n = source.numel(), d = table.size(1);
    Tensor out = torch::empty({n, d}, table.options().dtype(torch::kBFloat16));
    for (int64_t i = 0; i < n; i++) {
        const float *x = p32(table) + source.data_ptr<int64_t>()[i] * d;
        for (int64_t j = 0; j < d; j += 16) put(p16(out) + i * d + j, _mm512_loadu_ps(x + j));
    }
    return out;
}

Tensor look_up_back(Tensor g, Tensor source, int64_t rows)
{
    int64_t n = source.numel(), d = g.size(1);
    Tensor out = torch::zeros({rows, d}, torch::kFloat32);
    for (int64_t i = 0; i < n; i++) {
        float *o = p32(out) + source.data_ptr<int64_t>()[i] * d;
        for (int64_t j = 0; j < d; j += 16) _mm512_storeu_ps(o + j, _mm512_add_ps(_mm512_loadu_ps(o + j), get(p16(g) + i * d + j)));
    }
    return out;
}

// The tower's GELU (tanh form) and its derivative, over any number of elements that is a multiple of 16.
static inline __m512 tanh_part(__m512 x, __m512 *slope)
{
    const __m512 a = _mm512_set1_ps(0.79788456f), b = _mm512_set1_ps(0.044715f), one = _mm512_set1_ps(1.0f);
    __m512 x2 = _mm512_mul_ps(x, x);
    __m512 u = _mm512_mul_ps(_mm512_mul_ps(a, x), _mm512_fmadd_ps(b, x2, one));
    *slope = _mm512_mul_ps(a, _mm512_fmadd_ps(_mm512_set1_ps(3 * 0.044715f), x2, one));
    return sigmoid16(_mm512_add_ps(u, u)); // (1 + tanh u) / 2
}

Tensor gelu(Tensor x)
{
    Tensor out = torch::empty_like(x);
    for (int64_t i = 0; i < x.numel(); i += 16) {
        __m512 v = get(p16(x) + i), s;
        put(p16(out) + i, _mm512_mul_ps(v, tanh_part(v, &s)));
    }
    return out;
}

Tensor gelu_back(Tensor g, Tensor x)
{
    Tensor out = torch::empty_like(x);
    const __m512 one = _mm512_set1_ps(1.0f), two = _mm512_set1_ps(2.0f);
    for (int64_t i = 0; i < x.numel(); i += 16) {
        __m512 v = get(p16(x) + i), s, h = tanh_part(v, &s);
        __m512 d = _mm512_fmadd_ps(_mm512_mul_ps(_mm512_mul_ps(two, v), s), _mm512_mul_ps(h, _mm512_sub_ps(one, h)), h);
        put(p16(out) + i, _mm512_mul_ps(d, get(p16(g) + i)));
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
