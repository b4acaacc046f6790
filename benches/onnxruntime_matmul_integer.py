"""The speed of onnxruntime's MatMulInteger, u8 x i8 with zero point 128, on one thread: the peer of `kernels.rs`.

    pip install onnxruntime onnx
    python benches/onnxruntime_matmul_integer.py

B as a constant is packed while the model loads; B as an input is packed in each run. On processors with AMX onnxruntime
takes AMX, which is another class of hardware than the vector units that `kernels.rs` measures.
"""

import time

import numpy
import onnx
import onnxruntime
from onnx import TensorProto, helper

M, K, N = 256, 2048, 2048
ZERO_POINT = 128
REPEATS = 50


def session(b, b_is_constant):
    """A session with one product, and the inputs that it takes besides A."""
    constants = [helper.make_tensor("zero_point", TensorProto.UINT8, [], [ZERO_POINT])]
    inputs = [helper.make_tensor_value_info("a", TensorProto.UINT8, [M, K])]
    if b_is_constant:
        constants.append(onnx.numpy_helper.from_array(b, "b"))
    else:
        inputs.append(helper.make_tensor_value_info("b", TensorProto.INT8, [K, N]))
    product = helper.make_node("MatMulInteger", ["a", "b", "zero_point"], ["c"])
    outputs = [helper.make_tensor_value_info("c", TensorProto.INT32, [M, N])]
    graph = helper.make_graph([product], "product", inputs, outputs, constants)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)])
    model.ir_version = 8
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    options.inter_op_num_threads = 1
    return onnxruntime.InferenceSession(
        model.SerializeToString(), options, providers=["CPUExecutionProvider"]
    ), ({} if b_is_constant else {"b": b})


def main():
    random = numpy.random.default_rng(1)
    a = random.integers(0, 256, (M, K), dtype=numpy.uint8)
    b = random.integers(-128, 128, (K, N), dtype=numpy.int8)
    # Every partial sum is an integer far below 2^53, so the product in float64 is exact.
    expected = (a.astype(numpy.float64) - ZERO_POINT) @ b.astype(numpy.float64)
    print(f"onnxruntime {onnxruntime.__version__}, {M}x{K}x{N}, one thread")
    for b_is_constant in (True, False):
        run, inputs = session(b, b_is_constant)
        inputs = {"a": a, **inputs}
        assert (run.run(None, inputs)[0] == expected).all(), "onnxruntime gives another product"
        seconds = []
        for _ in range(REPEATS):
            start = time.perf_counter()
            run.run(None, inputs)
            seconds.append(time.perf_counter() - start)
        seconds.sort()
        best, median = (M * K * N / s * 1e-9 for s in (seconds[0], seconds[REPEATS // 2]))
        what = "packed before" if b_is_constant else "packing included"
        print(f"  {what}: best {best:.1f}, median {median:.1f} GMAC/s")


if __name__ == "__main__":
    main()
