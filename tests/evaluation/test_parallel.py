"""Work on several threads: same results, and the settings of torch come back."""

import pytest
import torch

from harness.evaluation import Embeddings, rank
from harness.evaluation.parallel import in_parallel, one_thread_each

CPU = torch.device("cpu")


@pytest.fixture
def threads():
    before = torch.get_num_threads()
    torch.set_num_threads(3)
    yield 3
    torch.set_num_threads(before)


def test_results_come_in_the_order_of_the_tasks():
    assert in_parallel(lambda n: n * n, range(50), workers=4) == [n * n for n in range(50)]


def test_torch_has_its_threads_again_afterwards(threads):
    with one_thread_each(CPU) as workers:
        inside = [torch.get_num_threads(), *in_parallel(_threads, range(3), workers=workers)]

    assert workers == threads
    assert inside == [1, 1, 1, 1]
    assert torch.get_num_threads() == threads


def test_a_failure_in_a_thread_is_raised_and_leaves_the_settings(threads):
    def fail(_):
        raise ValueError("broken")

    with pytest.raises(ValueError, match="broken"), one_thread_each(CPU) as workers:
        in_parallel(fail, range(3), workers=workers)

    assert torch.get_num_threads() == threads


@pytest.mark.parametrize("rows", [400, 8400])
def test_the_number_of_threads_changes_no_bit(threads, rows):
    generator = torch.Generator().manual_seed(0)
    values = torch.randn(rows, 6, generator=generator)
    items = Embeddings(values, torch.arange(rows) // 5, torch.arange(rows))
    many = rank(items, memory=2**24)
    torch.set_num_threads(1)

    one = rank(items, memory=2**26)

    assert torch.equal(many.first_hit_rank, one.first_hit_rank)
    assert torch.equal(many.precision_sum_at_r, one.precision_sum_at_r)
    assert torch.equal(many.neighbor_ids, one.neighbor_ids)
    assert torch.equal(many.neighbor_distances, one.neighbor_distances)


def _threads(_):
    return torch.get_num_threads()
