import torch

from harness.contracts import BuildContext
from harness.kit.randomness import generator_of, global_stream_from


def generator(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def draw(seed: int) -> torch.Tensor:
    with global_stream_from(generator(seed)):
        return torch.randn(3)


def test_the_context_decides_the_generator():
    own = generator(4)

    assert generator_of(BuildContext(generator=own)) is own


def test_a_context_without_a_generator_gives_equal_streams():
    first, second = generator_of(BuildContext()), generator_of(BuildContext())

    assert torch.equal(torch.rand(3, generator=first), torch.rand(3, generator=second))


def test_global_draws_follow_the_generator():
    assert torch.equal(draw(1), draw(1))
    assert not torch.equal(draw(1), draw(2))


def test_global_stream_is_put_back():
    torch.manual_seed(0)
    expected = torch.rand(2)

    torch.manual_seed(0)
    draw(1)

    assert torch.equal(torch.rand(2), expected)


def test_one_generator_gives_two_blocks_different_streams():
    shared = generator(0)

    with global_stream_from(shared):
        first = torch.randn(3)
    with global_stream_from(shared):
        second = torch.randn(3)

    assert not torch.equal(first, second)
