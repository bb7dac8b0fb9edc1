"""A BERT sentence encoder as an ONNX graph, built from safetensors with NumPy alone.

Devlin et al. 2019 (post-norm encoder, exact GELU), then the mean over the tokens of the mask and
L2 normalisation (Reimers & Gurevych 2019, section 3). Unusual here: no exporter and no torch. The
weights never enter the protobuf: the session takes them as external initialisers, which makes
loading several times faster than parsing a 90 MB message. Query, key and value are one product;
the scale 1/sqrt(d) is folded into the query's weights and the token type into the positions'.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray
from onnx import ModelProto, TensorProto, helper, numpy_helper

Weights = Mapping[str, NDArray[np.float32]]

_OPSET = 20
"""The first with Gelu; onnxruntime knows it since 1.17."""

_IR_VERSION = 10

_SMALL = 64
"""Bytes up to which a constant stays in the message: shapes and indices."""


@dataclass(frozen=True, slots=True, kw_only=True)
class BertShape:
    """What the weights alone do not tell."""

    layers: int
    heads: int
    hidden: int
    layer_norm_eps: float


@dataclass(slots=True)
class _Graph:
    """Nodes and constants as they are added; every method returns the name of its result."""

    nodes: list[Any] = field(default_factory=list)
    constants: dict[str, NDArray[Any]] = field(default_factory=dict)

    def op(self, kind: str, *inputs: str, **attributes: float | list[int]) -> str:
        output = f"{kind}_{len(self.nodes)}"
        node = helper.make_node(kind, list(inputs), [output])
        node.attribute.extend(helper.make_attribute(*pair) for pair in attributes.items())
        self.nodes.append(node)
        return output

    def constant(self, value: NDArray[Any]) -> str:
        name = f"c_{len(self.constants)}"
        self.constants[name] = np.asarray(value, order="C")
        return name

    def ints(self, *values: int) -> str:
        return self.constant(np.array(values, dtype=np.int64))

    def scalar(self, value: float) -> str:
        return self.constant(np.array([value], dtype=np.float32))

    def linear(self, x: str, weight: NDArray[np.float32], bias: NDArray[np.float32]) -> str:
        """`weight` as torch keeps it: (out, in)."""
        return self.op("Add", self.op("MatMul", x, self.constant(weight.T)), self.constant(bias))


def bert_graph(weights: Weights, shape: BertShape) -> tuple[ModelProto, dict[str, NDArray[Any]]]:
    """The graph and its constants: `input_ids`, `attention_mask` → `embedding`.

    Inputs are (batch, tokens) int64; the output is (batch, hidden) float32, rows L2-normalised.
    Constants of more than `_SMALL` bytes are left out of the model, for `external_initializers`.

    Raises:
        KeyError: a weight is missing; its name is the argument.
    """
    graph = _Graph()
    mask = graph.op("Cast", "attention_mask", to=1)
    bias = graph.op(
        "Mul",
        graph.op("Sub", graph.scalar(1.0), mask),
        graph.scalar(-1e9),
    )
    bias = graph.op("Unsqueeze", bias, graph.ints(1, 2))
    x = _embeddings(graph, weights, shape)
    for layer in range(shape.layers):
        x = _layer(graph, weights, shape, f"encoder.layer.{layer}", x, bias)
    _pool(graph, x, mask)
    return _model(graph, shape.hidden)


def _embeddings(graph: _Graph, weights: Weights, shape: BertShape) -> str:
    words = graph.op(
        "Gather", graph.constant(weights["embeddings.word_embeddings.weight"]), "input_ids"
    )
    # Every token is of type 0, so its row can live in the positions' table.
    table = (
        weights["embeddings.position_embeddings.weight"]
        + (weights["embeddings.token_type_embeddings.weight"][0])
    )
    tokens = graph.op("Shape", "input_ids", start=1, end=2)
    positions = graph.op("Slice", graph.constant(table), graph.ints(0), tokens, graph.ints(0))
    return _norm(graph, weights, shape, "embeddings.LayerNorm", graph.op("Add", words, positions))


def _layer(graph: _Graph, weights: Weights, shape: BertShape, name: str, x: str, bias: str) -> str:
    attended = _linear(
        graph,
        weights,
        f"{name}.attention.output.dense",
        _attention(graph, weights, shape, f"{name}.attention.self", x, bias),
    )
    x = _norm(
        graph, weights, shape, f"{name}.attention.output.LayerNorm", graph.op("Add", attended, x)
    )
    inner = graph.op("Gelu", _linear(graph, weights, f"{name}.intermediate.dense", x))
    outer = _linear(graph, weights, f"{name}.output.dense", inner)
    return _norm(graph, weights, shape, f"{name}.output.LayerNorm", graph.op("Add", outer, x))


def _attention(
    graph: _Graph, weights: Weights, shape: BertShape, name: str, x: str, bias: str
) -> str:
    width = shape.hidden // shape.heads
    scale = np.float32(width**-0.5)
    parts = {
        part: [weights[f"{name}.{part}.{kind}"] for kind in ("weight", "bias")]
        for part in ("query", "key", "value")
    }
    parts["query"] = [scale * tensor for tensor in parts["query"]]
    joint = graph.linear(
        x, *(np.concatenate(tensors) for tensors in zip(*parts.values(), strict=True))
    )
    split = graph.op("Reshape", joint, graph.ints(0, 0, 3, shape.heads, width))
    # From here on: query, key and value first, then batch, heads, tokens, width.
    split = graph.op("Transpose", split, perm=[2, 0, 3, 1, 4])
    query, key, value = (
        graph.op("Gather", split, graph.constant(np.array(part, dtype=np.int64)), axis=0)
        for part in range(3)
    )
    scores = graph.op("MatMul", query, graph.op("Transpose", key, perm=[0, 1, 3, 2]))
    share = graph.op("Softmax", graph.op("Add", scores, bias), axis=-1)
    mixed = graph.op("Transpose", graph.op("MatMul", share, value), perm=[0, 2, 1, 3])
    return graph.op("Reshape", mixed, graph.ints(0, 0, shape.hidden))


def _pool(graph: _Graph, x: str, mask: str) -> None:
    column = graph.op("Unsqueeze", mask, graph.ints(2))
    total = graph.op("ReduceSum", graph.op("Mul", x, column), graph.ints(1), keepdims=0)
    # The mean's divisor cancels in the normalisation, so the sum is normalised as it is.
    length = graph.op("ReduceL2", total, graph.ints(1), keepdims=1)
    length = graph.op("Max", length, graph.scalar(1e-12))
    graph.op("Div", total, length)
    graph.nodes[-1].output[0] = "embedding"


def _linear(graph: _Graph, weights: Weights, name: str, x: str) -> str:
    return graph.linear(x, weights[f"{name}.weight"], weights[f"{name}.bias"])


def _norm(graph: _Graph, weights: Weights, shape: BertShape, name: str, x: str) -> str:
    gain, shift = (graph.constant(weights[f"{name}.{kind}"]) for kind in ("weight", "bias"))
    return graph.op("LayerNormalization", x, gain, shift, axis=-1, epsilon=shape.layer_norm_eps)


def _model(graph: _Graph, hidden: int) -> tuple[ModelProto, dict[str, NDArray[Any]]]:
    ports = [
        helper.make_tensor_value_info(name, TensorProto.INT64, ["batch", "tokens"])
        for name in ("input_ids", "attention_mask")
    ]
    output = helper.make_tensor_value_info("embedding", TensorProto.FLOAT, ["batch", hidden])
    large = {name: value for name, value in graph.constants.items() if value.nbytes > _SMALL}
    initializers = [
        _placeholder(name, value) if name in large else numpy_helper.from_array(value, name)
        for name, value in graph.constants.items()
    ]
    model = helper.make_model(
        helper.make_graph(graph.nodes, "bert", ports, [output], initializer=initializers),
        opset_imports=[helper.make_opsetid("", _OPSET)],
        ir_version=_IR_VERSION,
    )
    return model, large


def _placeholder(name: str, value: NDArray[Any]) -> TensorProto:
    """Says shape and type, and that the data come from outside the message."""
    tensor = TensorProto(name=name, dims=value.shape, data_type=TensorProto.FLOAT)
    tensor.data_location = TensorProto.EXTERNAL
    tensor.external_data.add(key="location", value="given-to-the-session")
    return tensor
