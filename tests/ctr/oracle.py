"""Click models written out: NumPy, float64, loops over fields, nothing of jaxbandit.

`p` is a model's parameters by name; `code` [fields] and `dense` [dense] are one row.
"""

import math

import numpy as np


def sigmoid(x):
    return 1 / (1 + math.exp(-x))


def linear(p, code, dense, factor=None):
    factor = [1.0] * len(code) if factor is None else factor
    total = sum(factor[i] * p["embedding.weight"][c] for i, c in enumerate(code))
    return total + sum(w * x for w, x in zip(p["embedding.dense_weight"], dense, strict=True))


def pairs(vectors):
    total = 0.0
    for i in range(len(vectors)):
        for j in range(i + 1, len(vectors)):
            total += float(np.dot(vectors[i], vectors[j]))
    return total


def vectors_of(p, code):
    return [p["embedding.vector"][c] for c in code]


def perceptron(p, x):
    layer = 0
    while f"network.weights.{layer}" in p:
        weight, bias = p[f"network.weights.{layer}"], p[f"network.biases.{layer}"]
        x = [max(0.0, float(np.dot(row, x)) + b) for row, b in zip(weight, bias, strict=True)]
        layer += 1
    return np.array(x)


def logistic(p, code, dense):
    return p["bias"] + linear(p, code, dense)


def fm(p, code, dense):
    return p["bias"] + linear(p, code, dense) + pairs(vectors_of(p, code))


def deepfm(p, code, dense):
    inputs = np.concatenate([*vectors_of(p, code), dense])
    return fm(p, code, dense) + float(np.dot(p["readout"], perceptron(p, inputs)))


def dcn(p, code, dense):
    first = np.concatenate([*vectors_of(p, code), dense])
    x = first
    for weight, bias in zip(p["cross.weights"], p["cross.biases"], strict=True):
        # The paper's form, with the outer product x_0 x_l'.
        x = np.outer(first, x) @ weight + bias + x
    stacked = np.concatenate([x, perceptron(p, first)])
    return logistic(p, code, dense) + float(np.dot(p["readout"], stacked))


def attention(p, vectors, heads):
    fields, rank = len(vectors), len(vectors[0])
    size = rank // heads
    out = np.zeros((fields, rank))
    for head in range(heads):
        part = slice(head * size, (head + 1) * size)
        query, key, value = (
            [v @ p[f"attention.{name}"][:, part] for v in vectors]
            for name in ("query", "key", "value")
        )
        for i in range(fields):
            weight = [math.exp(float(query[i] @ key[j]) / math.sqrt(size)) for j in range(fields)]
            for j in range(fields):
                out[i, part] += weight[j] / sum(weight) * value[j]
    for i in range(fields):
        out[i] += vectors[i] @ p["attention.residual"]
    return np.maximum(out, 0)


def difm(p, code, dense, heads=4):
    vectors = vectors_of(p, code)
    by_vector = p["from_vectors"] @ attention(p, vectors, heads).ravel()
    by_bit = p["from_bits"] @ perceptron(p, np.concatenate(vectors))
    factor = by_vector + by_bit
    reweighted = [m * v for m, v in zip(factor, vectors, strict=True)]
    return p["bias"] + linear(p, code, dense, factor) + pairs(reweighted)


LOGITS = {"logistic": logistic, "FM": fm, "DeepFM": deepfm, "DCN": dcn, "DIFM": difm}


def penalty(name, p, strength=1e-5):
    names = ["embedding.weight", "embedding.vector", "embedding.dense_weight"]
    if name == "DCN":
        names += ["cross.weights", "readout"]
    return strength * sum(float(np.sum(p[key] ** 2)) for key in names)


def loss(name, p, code, dense, click):
    """Of a batch: summed cross-entropy and the penalty."""
    total = penalty(name, p)
    for row in range(len(click)):
        probability = sigmoid(LOGITS[name](p, code[row], dense[row]))
        total -= math.log(probability if click[row] else 1 - probability)
    return total


def history(day, device, click, training, row, shrinkage=10.0):
    """Device features of one row, from training rows (indices) of earlier days."""
    earlier = [k for k in training if device[k] == device[row] and day[k] < day[row]]
    before = [k for k in earlier if day[k] == day[row] - 1]
    rates = [sum(click[k] for k in part) / (len(part) + shrinkage) for part in (earlier, before)]
    return [math.log(1 + len(earlier)), *rates]


def adam(gradient, start, batches, rate=1e-3, decay=(0.9, 0.999), epsilon=1e-8):
    """Parameters (one flat vector) after a step a batch (Kingma and Ba 2015, algorithm 1)."""
    x, first, second = start.copy(), np.zeros_like(start), np.zeros_like(start)
    for step, batch in enumerate(batches, 1):
        g = gradient(x, batch)
        first = decay[0] * first + (1 - decay[0]) * g
        second = decay[1] * second + (1 - decay[1]) * g**2
        corrected = first / (1 - decay[0] ** step), second / (1 - decay[1] ** step)
        x = x - rate * corrected[0] / (np.sqrt(corrected[1]) + epsilon)
    return x
