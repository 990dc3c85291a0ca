"""What other libraries call the things that are here, for those who come from them."""

from __future__ import annotations

from typing import Any

METHODS = {
    "absolute": "abs", "amax": "max", "amin": "min", "bmm": "matmul", "chunk": "array_split", "clamp": "clip",
    "clone": "np.copy(x)", "dim": "x.ndim", "div": "divide", "expand": "broadcast_to",
    "gather": "take_along_axis", "index_select": "take", "masked_fill": "where", "mm": "matmul",
    "mul": "multiply", "mv": "matvec", "neg": "negative", "nelement": "x.size", "numel": "x.size",
    "permute": "transpose", "pow": "power", "requires_grad_": "x.requires_grad = True",
    "rsqrt": "1 / tg.sqrt(x)", "scatter_add": "index_add", "sub": "subtract", "t": "x.T",
    "unbind": "unstack", "unsqueeze": "expand_dims", "view": "reshape",
    **dict.fromkeys(("double", "float", "half", "int", "long", "to", "type"), "x.astype(dtype), no device"),
    **dict.fromkeys(("cpu", "cuda", "device"), "nothing: there are no devices"),
}  # fmt: skip
"""Methods of other libraries' tensors: the name of an attribute here, or what to write."""

_HERE = {
    **METHODS,
    "cat": "concatenate", "concat": "concatenate",
    **{dtype: f"np.{dtype}" for dtype in ("float16", "float32", "float64", "int32", "int64")},
    # what makes tensors
    **{f: f"tg.tensor(np.{f}(...))" for f in ("arange", "empty", "eye", "full", "linspace", "ones", "zeros")},
    **{f: f"tg.tensor(np.{f}(x))" for f in ("full_like", "ones_like", "zeros_like")},
    "rand": "tg.tensor(rng.random(shape)), with rng = np.random.default_rng()",
    "randn": "tg.tensor(rng.standard_normal(shape)), with rng = np.random.default_rng()",
    **dict.fromkeys(("Variable", "as_tensor", "from_numpy"), "tg.tensor(array)"),
    "load": "model.load(path)", "save": "model.save(path)",
    # layers and losses
    **{
        f: f"tg.{f.lower()}, a function, also in nn.Sequential"
        for f in ("ELU", "GELU", "ReLU", "SiLU", "Sigmoid", "Softmax", "Softplus", "Tanh")
    },
    "Hardsigmoid": "tg.hard_sigmoid", "Hardtanh": "tg.hard_tanh", "LeakyReLU": "tg.leaky_relu",
    "LogSoftmax": "tg.log_softmax", "functional": "tg, and nn for losses: tg.relu(x), nn.mse(y, target)",
    "BCEWithLogitsLoss": "nn.binary_cross_entropy_with_logits(logits, target)",
    "CTCLoss": "nn.ctc_loss, a function",
    "CrossEntropyLoss": "nn.cross_entropy(logits, ids)",
    **dict.fromkeys(("L1Loss", "l1_loss"), "nn.mae(y, target)"),
    **dict.fromkeys(("MSELoss", "mse_loss"), "nn.mse(y, target)"),
    **dict.fromkeys(("HuberLoss", "SmoothL1Loss", "smooth_l1_loss"), "nn.huber(y, target)"),
    "Dense": "nn.Linear(in_features, out_features)", "ModuleList": "nn.Sequential, which can be indexed",
    "SimpleRNN": "nn.RNN", "TimeDistributed": "the layer itself: nn.Linear works on the last axis",
    # optimisers
    "Optimizer": "optim.Optimiser", "RMSProp": "optim.RMSprop", "clip_grad_norm_": "optim.clip_grad_norm",
    "clip_grad_value_": "optim.clip_grad_value",
}  # fmt: skip
"""The same of everything."""


def missing(thing: Any, called: str, name: str, described: str) -> AttributeError:
    """The error for an attribute that something does not have.

    Parameters
    ----------
    thing, called
        What was asked, and how users call it: what is meant is named as ``called.attribute`` if it has that.
    name, described : str
        The attribute, and what Python's own message calls the thing.
    """
    here = _HERE.get(name, "")
    if here.isidentifier():
        here = f"{called}.{here}" if hasattr(thing, here) else f"tg.{here}"
    mend = f"; here it is {here}" if here else ""
    return AttributeError(f"{described} has no attribute {name!r}{mend}", name=name, obj=thing)
