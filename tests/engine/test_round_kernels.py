"""Loops as single kernels compute what they compute otherwise."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax

from jaxbandit.engine.entries import put, take
from jaxbandit.engine.round_kernels import KNOWN_PRIMITIVES, one_kernel, parts_on_cpu

WIDTH = 48
TABLE = np.linspace(-2, 2, 20 * WIDTH, dtype=np.float32).reshape(20, WIDTH)
NUMBERS = np.arange(WIDTH, dtype=np.int32)


def arithmetic(step, x):
    a = jnp.sin(x) + jnp.exp(-jnp.abs(x)) - jnp.cos(x) * jnp.tanh(x) / (1 + x**2)
    b = jnp.sqrt(jnp.abs(a)) + jnp.log1p(jnp.abs(a)) + jnp.expm1(a / 9) + lax.rsqrt(1 + a * a)
    c = jnp.maximum(a, b) - jnp.minimum(a, 0.5) + jnp.sign(a) + jnp.floor(b) - jnp.ceil(a)
    d = lax.erf(c) + lax.erf_inv(jnp.clip(a, -0.9, 0.9)) + lax.logistic(b) + jnp.power(b + 2, 0.3)
    e = (
        jnp.log(lax.square(d) + 1)
        + lax.cbrt(a)
        + lax.atan2(a, b + 3)
        + lax.tan(a / 9) * lax.exp2(b)
    )
    f = jnp.cosh(a / 3) - jnp.sinh(a / 3) + lax.erfc(b) + lax.clamp(-1.0, a, 1.0) + lax.round(b)
    g = jax.nn.relu(-a) + lax.rem(b, jnp.ones_like(b)) + lax.nextafter(a, b) + lax.integer_pow(a, 3)
    some = (e > 1) & ~jnp.isnan(f) | (a <= b) ^ (g != a) | (f == e) | lax.is_finite(g) & (f >= 0)
    return jnp.where(some, jnp.sin(d + e), jnp.cos(f - g) + step.astype(c.dtype))


def integers(step, x):
    bits = lax.bitcast_convert_type(x.astype(jnp.float32), jnp.uint32)
    bits = (bits << 7) ^ (bits >> 9) | (bits & 255)
    turned = lax.shift_right_arithmetic(bits.astype(jnp.int32), jnp.int32(3)) % 17 + step
    return x + (turned // 3).astype(x.dtype) + lax.population_count(bits).astype(x.dtype)


def shapes(step, x):
    pair = jnp.stack([x, x[::-1]])
    rolled = jnp.concatenate([pair[:, 5:], pair[:, :5]], axis=1)
    padded = jnp.pad(rolled, ((0, 1), (0, 0)), constant_values=0.5)
    part = lax.dynamic_slice(padded.T, (step % 3, 0), (WIDTH - 2, 3))
    return lax.dynamic_update_slice(x, jnp.squeeze(part[:, :1]).reshape(-1), (step % 2,))


def gathers(step, x):
    row = lax.dynamic_index_in_dim(jnp.asarray(TABLE), step % 20, keepdims=False)
    return x / 2 + row[(NUMBERS + step) % WIDTH]


def reductions(step, x):
    grid = x[:, None] * jnp.arange(1.0, 31.0, dtype=x.dtype)
    best = jnp.argmax(jnp.cos(grid), axis=1) - jnp.argmin(jnp.sin(grid), axis=1)
    some = jnp.any(grid > 3, axis=1) & ~jnp.all(grid > 0, axis=1)
    totals = jnp.sum(grid, axis=1) / 1000 + jnp.max(grid, axis=1) / 30 - jnp.min(grid, axis=1) / 30
    return jnp.where(some, totals + jnp.prod(jnp.cos(grid), axis=1), best.astype(x.dtype))


def control(step, x):
    x = lax.cond(step % 2 == 0, lambda x: x + 1, lambda x: x * 0.5, x)
    x = lax.while_loop(lambda x: jnp.max(x) > 2, lambda x: x - 0.75, x)
    x = put(x, step % WIDTH, take(x, jnp.int32(3)) / 2)
    # What other platforms do does not matter.
    x = lax.platform_dependent(x, cpu=lambda x: x + 0.125, default=jnp.sort)
    return x + lax.scan(lambda c, y: (c + y, c), 0.0, x)[1] / WIDTH


def randomness(step, x):
    key = jax.random.fold_in(jax.random.wrap_key_data(jnp.arange(2, dtype=jnp.uint32)), step)
    words = jax.random.key_data(jax.random.split(key)[0])
    return x + jax.random.normal(key, x.shape) + jax.random.uniform(words)


def sorting(step, x):
    return jnp.sort(x)[::-1] + step


def scattering(step, x):
    return x.at[step % WIDTH].set(7.0)


def products(step, x):
    return jnp.cos(TABLE.T @ (TABLE @ x) / 100 + step) + x / 2


KNOWN = [arithmetic, integers, shapes, gathers, reductions, control, randomness]
UNKNOWN = [sorting, scattering, products]


def loop(body):
    def run(x, unused, ends):
        return lax.fori_loop(0, ends[0], lambda step, x: body(step, x), x), unused

    return run


@pytest.mark.parametrize("body", KNOWN + UNKNOWN)
def test_a_kernel_computes_what_its_function_does(body):
    x, unused = jnp.linspace(-1.0, 3.0, WIDTH), jnp.ones((3, WIDTH), bool)
    # The constant operand and the one that is not used have made XLA abort.
    kernel = jax.jit(lambda x, ends: one_kernel(loop(body), x, jnp.zeros((3, WIDTH), bool), ends))
    ends = jnp.array([6])
    compiled = kernel.lower(x, ends).compile()
    if jax.default_backend() == "cpu":
        assert ("inlineable" in compiled.as_text()) == (body in KNOWN)
    value, _ = compiled(x, ends)
    plain, _ = jax.jit(loop(body))(x, unused, ends)
    np.testing.assert_allclose(value, plain, rtol=2e-5, atol=2e-5)
    assert np.ptp(value) > 0


def test_keys_and_nothing_at_all_are_left_to_other_kernels():
    def run(key, empty, ends):
        return jax.random.uniform(key, (4,)) + jnp.sum(empty) + ends[0]

    operands = (jax.random.key(1), jnp.zeros((0, 3)), jnp.array([2]))
    value = jax.jit(lambda *operands: one_kernel(run, *operands))(*operands)
    np.testing.assert_array_equal(value, run(*operands))


def test_all_that_may_be_in_a_kernel_is_tried():
    tried = set()

    def collect(jaxpr):
        for equation in jaxpr.eqns:
            tried.add(equation.primitive.name)
            for inner in parts_on_cpu(equation):
                collect(inner)

    for body in KNOWN:
        collect(jax.make_jaxpr(loop(body))(jnp.ones(WIDTH), jnp.ones(3), jnp.array([6])).jaxpr)
    assert tried == KNOWN_PRIMITIVES
