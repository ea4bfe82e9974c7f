import pytest
import torch

from mnnbio.moments import trilinear
from mnnbio.moments.trilinear import column_forms, weighted_product

f64 = torch.float64


def arrays(batch=(2, 3), rows=3, others=2, neurons=5, seed=0):
    g = torch.Generator().manual_seed(seed)
    shapes = ((rows, neurons), (*batch, neurons), (others, neurons), (*batch, rows, others))
    return [torch.randn(shape, dtype=f64, generator=g).requires_grad_() for shape in shapes]


@pytest.fixture(params=[1, 1 << 21], ids=["one by one", "at once"])
def part(request, monkeypatch):
    monkeypatch.setattr(trilinear, "PART", request.param)


@pytest.mark.usefixtures("part")
@pytest.mark.parametrize("batch", [(), (4,), (2, 3), (0,)])
def test_values(batch):
    left, weights, right, matrix = arrays(batch)
    torch.testing.assert_close(weighted_product(left, weights, right), (left * weights[..., None, :]) @ right.T)
    expected = torch.einsum("rn,...rs,sn->...n", left, matrix, right)
    torch.testing.assert_close(column_forms(left, matrix, right), expected)


@pytest.mark.usefixtures("part")
def test_derivatives():
    left, weights, right, matrix = arrays(batch=(2,))
    for function, inputs in ((weighted_product, (left, weights, right)), (column_forms, (left, matrix, right))):
        assert torch.autograd.gradcheck(function, inputs)
        assert torch.autograd.gradgradcheck(function, inputs)
    assert torch.autograd.gradcheck(lambda rows: column_forms(rows, matrix[..., :3, :2] @ matrix[0].mT, rows), left)


def test_vmap():
    left, weights, right, matrix = (array.detach() for array in arrays(batch=(4,)))
    over = torch.func.vmap(weighted_product, (None, 0, None))(left, weights, right)
    torch.testing.assert_close(over, weighted_product(left, weights, right))
    over = torch.func.vmap(column_forms, (None, 0, None))(left, matrix, right)
    torch.testing.assert_close(over, column_forms(left, matrix, right))


def test_nothing_of_the_size_of_batch_times_rows_is_kept():
    left, weights, right, matrix = arrays(batch=(8,), rows=16, others=16, neurons=1000)
    sizes = []

    def pack(tensor):
        sizes.append(tensor.numel())
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        weighted_product(left, weights, right)
        column_forms(left, matrix, right)
    assert max(sizes) == 16 * 1000
