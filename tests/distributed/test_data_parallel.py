"""Several ranks with shards of a batch train as one process with all of it."""

import numpy as np
import pytest
from thread_group import run_ranks

from tinygrad_norm import nn
from tinygrad_norm.autograd import Tensor
from tinygrad_norm.distributed import DistributedDataParallel
from tinygrad_norm.nn import functional as F
from tinygrad_norm.optim import SGD, Adam

STEPS, BATCH, CLASSES = 50, 13, 4


def network(seed=0):
    rng = np.random.default_rng(seed)
    model = nn.Sequential(
        nn.Conv2d(2, 3, 3),
        nn.BatchNorm2d(3),
        nn.ReLU(),
        nn.Flatten(),
        nn.Linear(3 * 16, 8),
        nn.BatchNorm1d(8, momentum=None),
        nn.Tanh(),
        nn.Linear(8, CLASSES),
    ).double()
    for parameter in model.parameters():
        parameter.copy_(rng.normal(size=parameter.shape) / 3)
    return model


def batch(step):
    rng = np.random.default_rng(step)
    return rng.normal(size=(BATCH, 2, 6, 6)) + 0.5, rng.integers(0, CLASSES, BATCH)


def train(model, optimizer, shard=lambda a: a, join=lambda sums: sums, steps=STEPS):
    """The losses of the whole batches, step by step, and the state."""
    losses = []
    for step in range(steps):
        x, t = map(shard, batch(step))
        optimizer.zero_grad()
        y = model(Tensor(x))
        loss = F.cross_entropy(y, Tensor(t)) if len(t) else (y * 0).sum()
        loss.backward()
        optimizer.step()
        sums = join(np.array([loss.item() * len(t), len(t)]))
        losses.append(sums[0] / sums[1])
    return losses, {name.removeprefix("module."): x.numpy().copy() for name, x in model.state_dict().items()}


def sizes_of(kind, size):
    even = [len(part) for part in np.array_split(np.arange(BATCH), size)]
    return {
        "even": even,
        "ragged": [BATCH - size + 1, *(1,) * (size - 1)],
        "empty": [*even[:-2], 0, even[-1] + even[-2]] if size > 1 else even,
    }[kind]


def train_on_ranks(size, kind, make_optimizer, **options):
    bounds = np.cumsum([0, *sizes_of(kind, size)])

    def run(group):
        net = nn.SyncBatchNorm.convert_sync_batchnorm(network(group.rank), group)
        model = DistributedDataParallel(net, process_group=group, **options)

        def join(sums):
            group.all_reduce(sums)
            return sums

        part = slice(bounds[group.rank], bounds[group.rank + 1])
        return train(model, make_optimizer(model.parameters()), lambda a: a[part], join)

    return run_ranks(size, run)


def distance(a, b):
    return np.abs(a - b).max() / np.abs(b).max()


@pytest.mark.parametrize("kind", ["even", "ragged", "empty"])
@pytest.mark.parametrize("size", [1, 2, 3, 4])
def test_the_ranks_train_as_one_process(size, kind):
    def optimizer(parameters):
        return SGD(parameters, lr=0.05, momentum=0.9)

    model = network()
    losses, state = train(model, optimizer(model.parameters()))
    assert losses[-1] != losses[0]
    for others, weights in train_on_ranks(size, kind, optimizer, bucket_cap_mb=0.001):
        np.testing.assert_allclose(others, losses, rtol=1e-12)
        assert list(weights) == list(state)
        for name, value in weights.items():
            assert distance(value, state[name]) <= 1e-12, name


def test_all_ranks_end_with_the_same_bits():
    (_, first), *others = train_on_ranks(3, "ragged", lambda p: Adam(p, 1e-2))
    for _, state in others:
        for name, value in state.items():
            np.testing.assert_array_equal(value, first[name], err_msg=name)


def test_plain_batch_norm_per_rank_is_ghost_batch_norm():
    """The ghost is the shard: rank i has samples i·2 and i·2 + 1 of 4."""
    x, t = (a[:4] for a in batch(0))
    ghost = nn.Sequential(nn.GhostBatchNorm2d(2, 2), nn.Flatten(), nn.Linear(72, CLASSES)).double()
    ghost[0].weight.copy_([1.5, 0.5])
    F.cross_entropy(ghost(Tensor(x)), Tensor(t)).backward()

    def run(group):
        plain = nn.Sequential(nn.BatchNorm2d(2), nn.Flatten(), nn.Linear(72, CLASSES)).double()
        for own, other in zip(plain.parameters(), ghost.parameters(), strict=True):
            own.copy_(other.numpy())
        model = DistributedDataParallel(plain, process_group=group)
        part = slice(2 * group.rank, 2 * group.rank + 2)
        F.cross_entropy(model(Tensor(x[part])), Tensor(t[part])).backward()
        return [p.grad.numpy() for p in model.parameters()]

    for grads in run_ranks(2, run):
        for own, other in zip(grads, ghost.parameters(), strict=True):
            np.testing.assert_allclose(own, other.grad.numpy(), rtol=1e-12, atol=1e-15)


# -- messages


def test_each_layer_of_sync_batch_norm_sends_one_message_forward_and_one_backward():
    def run(group):
        norm = nn.SyncBatchNorm(3, process_group=group).double()
        y = norm(Tensor(np.random.default_rng(group.rank).normal(size=(2, 3)), requires_grad=True))
        forward = list(group.log)
        (y * y).sum().backward()
        return forward, [entry for entry in group.log[len(forward) :] if entry[0] != "waited"]

    for forward, backward in run_ranks(3, run):
        assert forward == [("all_gather", (4, 3, 1))]
        assert backward == [("all_reduce", (2, 1, 3, 1))]


class Noted(nn.Linear):
    def forward(self, x):
        x.register_hook(lambda dx: self.note())
        return super().forward(x)


def test_buckets_are_sent_before_backward_ends():
    def run(group):
        net = nn.Sequential(*(Noted(4, 4) for _ in range(3))).double()
        for i, layer in enumerate(net):
            layer.note = lambda i=i: group.log.append((f"backward of {i}",))
        model = DistributedDataParallel(net, process_group=group, bucket_cap_mb=1e-5)
        x = Tensor(np.ones((2, 4)), requires_grad=True)
        y = model(x).sum()
        del group.log[:]
        y.backward()
        return [entry[0] for entry in group.log]

    for log in run_ranks(2, run):
        sent = [i for i, name in enumerate(log) if name == "all_reduce"]
        assert len(sent) == 6  # weight and bias of each
        assert sent[1] < log.index("backward of 1")
        assert sent[3] < log.index("backward of 0")
        assert log[-6:] == ["waited"] * 6


def test_a_rank_without_a_gradient_for_a_parameter_takes_those_of_the_others():
    """The branch depends on the rank; the last layer is used by nobody and gets no gradient."""

    def run(group):
        net = nn.ModuleList([nn.Linear(1, 1) for _ in range(4)]).double()
        for parameter in net.parameters():
            parameter.fill_(1)
        model = DistributedDataParallel(net, process_group=group, bucket_cap_mb=1e-6)
        x = Tensor(np.ones((1, 1)))
        (net[0](x) * net[1](x) * net[2](x)).sum().backward()  # the buckets are full of this one
        model.zero_grad()
        (net[2](x) * net[group.rank](x)).sum().backward()
        return [None if p.grad is None else p.grad.item() for p in net.parameters()]

    for grads in run_ranks(2, run):
        assert grads == [1, 1, 1, 1, 2, 2, None, None]


def test_a_rank_that_skips_a_head_above_sync_batch_norm_gets_the_gradients_of_the_whole_batch():
    """Its bucket of the head goes only at the end of backward, after the sums of SyncBatchNorm."""

    def run(group):
        net = two_heads(nn.SyncBatchNorm(3, process_group=group))
        model = DistributedDataParallel(net, process_group=group, bucket_cap_mb=1e-6)
        two_heads_loss(model, parts[group.rank], both=group.rank == 0).backward()
        return [2 * p.grad.numpy() for p in net.parameters()]

    parts = np.random.default_rng(0).normal(size=(2, 5, 2))
    alone = two_heads(nn.BatchNorm1d(3))
    y = alone["norm"](alone["first"](Tensor(parts.reshape(10, 2))))
    ((alone["head"](y) ** 2).sum() + (alone["other"](y[:5]) ** 2).sum()).backward()
    for grads in run_ranks(2, run):
        for own, p in zip(grads, alone.parameters(), strict=True):
            np.testing.assert_allclose(own, p.grad.numpy(), rtol=1e-11, atol=1e-13)


class TwoHeads(nn.ModuleDict):
    def forward(self, x, both):
        y = self["norm"](self["first"](x))
        return (self["head"](y), self["other"](y)) if both else self["head"](y)


def two_heads(norm):
    net = TwoHeads(
        {"first": nn.Linear(2, 3), "norm": norm, "head": nn.Linear(3, 2), "other": nn.Linear(3, 2)}
    ).double()
    rng = np.random.default_rng(1)
    for parameter in net.parameters():
        parameter.copy_(rng.normal(size=parameter.shape))
    return net


def two_heads_loss(model, x, both):
    outputs = model(Tensor(x), both)
    return sum((y**2).sum() for y in (outputs if both else (outputs,)))


def test_gradients_are_averaged_after_a_backward_that_an_error_ended():
    """Rank 1 does not use the last head: it has sent no bucket before the error, rank 0 has sent two."""

    def run(group):
        net = two_heads(nn.Linear(3, 3))
        model = DistributedDataParallel(net, process_group=group, bucket_cap_mb=1e-6)
        hook = net["norm"].weight.register_hook(fail)
        for _ in range(2):
            with pytest.raises(ZeroDivisionError):
                two_heads_loss(model, parts[group.rank], both=group.rank == 0).backward()
        hook.remove()
        model.zero_grad()
        two_heads_loss(model, parts[group.rank], both=True).backward()
        return [2 * p.grad.numpy() for p in net.parameters()]

    parts = np.random.default_rng(0).normal(size=(2, 5, 2))
    alone = two_heads(nn.Linear(3, 3))
    two_heads_loss(alone, parts.reshape(10, 2), both=True).backward()
    for grads in run_ranks(2, run):
        for own, p in zip(grads, alone.parameters(), strict=True):
            np.testing.assert_allclose(own, p.grad.numpy(), rtol=1e-12, atol=1e-14)


def fail(_):
    raise ZeroDivisionError


def test_gradients_accumulate_over_several_backwards():
    def run(group):
        layer = nn.Linear(1, 1, bias=False).double()
        model = DistributedDataParallel(layer, process_group=group)
        for value in (1.0, 10.0):
            model(Tensor(np.array([[value * (group.rank + 1)]]))).sum().backward()
        return layer.weight.grad.item()

    assert run_ranks(2, run) == [16.5, 16.5]


def test_no_sync_averages_the_sums_of_several_backwards():
    """Three parts of a batch, of other sizes on each rank, as one process that accumulates."""
    sizes = [(3, 1), (2, 2), (1, 4)]
    parts = [tuple(a[:5] for a in batch(step)) for step in range(3)]
    alone = network()
    for (x, t), pair in zip(parts, sizes, strict=True):
        F.cross_entropy(alone(Tensor(x[: sum(pair)])), Tensor(t[: sum(pair)])).backward()

    def run(group):
        net = nn.SyncBatchNorm.convert_sync_batchnorm(network(), group)
        model = DistributedDataParallel(net, process_group=group)

        def backward(k):
            first = sizes[k][0]
            part = slice(first) if group.rank == 0 else slice(first, sum(sizes[k]))
            F.cross_entropy(model(Tensor(parts[k][0][part])), Tensor(parts[k][1][part])).backward()

        with model.no_sync():
            backward(0)
            local = net[4].weight.grad.numpy().copy()
            with model.no_sync():
                backward(1)
        size = model.reducer.buckets[0].flat.shape
        assert ("all_reduce", size) not in group.log
        backward(2)
        assert group.log.count(("all_reduce", size)) == 1
        return local, [p.grad.numpy() for p in model.parameters()]

    (first, grads), (second, others) = run_ranks(2, run)
    assert distance(first, second) > 1e-3
    for own, other, p in zip(grads, others, alone.parameters(), strict=True):
        np.testing.assert_array_equal(own, other)
        np.testing.assert_allclose(own, p.grad.numpy(), rtol=1e-11, atol=1e-14)


def test_the_forward_decides_whether_gradients_are_averaged():
    def run(group):
        layer = nn.Linear(1, 1, bias=False).double()
        model = DistributedDataParallel(layer, process_group=group)
        x = Tensor(np.array([[group.rank + 1.0]]))
        with model.no_sync():
            y = model(x)
        y.sum().backward()
        local = layer.weight.grad.item()
        y = model(x)
        with model.no_sync():
            y.sum().backward()
        return local, layer.weight.grad.item()

    assert run_ranks(2, run) == [(1, 3), (2, 3)]


def test_older_gradients_count_on_ranks_that_do_not_add_to_them():
    """Layer i has the gradient of rank i's first backward; later rank 0 alone uses layer 0."""

    def run(group):
        net = nn.ModuleList([nn.Linear(1, 1, bias=False) for _ in range(3)]).double()
        model = DistributedDataParallel(net, process_group=group)
        for parameter in net.parameters():
            parameter.fill_(1)
        x = Tensor(np.array([[1.0]]))
        model.reducer.active = False
        net[group.rank](x * 8).sum().backward()
        model.reducer.active = True
        net[2](x).sum().backward()
        before = [p.grad.item() for p in net.parameters()]
        (net[2](x) * (net[0](x) * 4 if group.rank == 0 else 1)).sum().backward()
        return before, net[0].weight.grad.item(), net[1].weight.grad.item()

    for before, first, second in run_ranks(2, run):
        assert before == [4, 4, 1]
        assert (first, second) == (4 + 4 * 0.5, 4)


def test_keyword_inputs_are_counted_too():
    def run(group):
        layer = nn.Linear(1, 1, bias=False).double()
        model = DistributedDataParallel(layer, process_group=group)
        model(input=Tensor(np.full((1 + 2 * group.rank, 1), group.rank + 1.0))).mean().backward()
        return layer.weight.grad.item()

    assert run_ranks(2, run) == [(1 * 1 + 3 * 2) / 4] * 2


def test_if_all_shards_are_empty_the_gradients_are_zero():
    def run(group):
        layer = nn.Linear(1, 1, bias=False).double()
        model = DistributedDataParallel(layer, process_group=group)
        (model(Tensor(np.empty((0, 1)))) * 0).sum().backward()
        return layer.weight.grad.item()

    assert run_ranks(2, run) == [0, 0]


def test_half_types_are_averaged_in_float32():
    def run(group):
        layer = nn.Linear(1, 1, bias=False).half()
        model = DistributedDataParallel(layer, process_group=group)
        x = Tensor(np.full((3, 1), 3e4, np.float16))  # the sum over both ranks overflows float16
        model(x).mean().backward()
        return layer.weight.grad

    for grad in run_ranks(2, run):
        assert (grad.dtype, grad.item()) == (np.float16, np.float16(3e4))


def test_parameters_and_buffers_are_those_of_rank_0():
    def run(group):
        net = nn.Sequential(nn.Linear(2, 3), nn.BatchNorm1d(3)).double()
        net[0].weight.fill_(group.rank + 1)
        net[1].running_mean.fill_(group.rank + 1)
        DistributedDataParallel(net, process_group=group)
        return net[0].weight.numpy().max(), net[1].running_mean.numpy().max()

    assert run_ranks(3, run) == [(1, 1)] * 3


def test_another_model_is_named_on_all_ranks():
    def run(group):
        with pytest.raises(RuntimeError, match=r"rank 1 has another model than rank 0.*weight.*\(3, 3\)"):
            DistributedDataParallel(nn.Linear(2 + group.rank, 3), process_group=group)

    run_ranks(2, run)


def test_alone_it_is_the_module():
    model = DistributedDataParallel(network())
    train(model, SGD(model.parameters(), lr=0.1), steps=1)
    assert not model.reducer.places or not any(bucket.work for bucket in model.reducer.buckets)
    assert all(name.startswith("module.") for name in model.state_dict())
