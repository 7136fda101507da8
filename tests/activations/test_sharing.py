import torch

from lmscope.activations.sharing import Sharing
from lmscope.core.mesh import Mesh
from lmscope.core.processes import Group, Processes
from lmscope.core.site import Site

A, B = Site("resid_post", 0), Site("mlp_out", 0)


class Room:
    """Members of a group that speak in turn: what each one gives is kept until all have spoken."""

    def __init__(self, size):
        self.given = [None] * size


class Member(Group):
    def __init__(self, room, rank):
        super().__init__(None, len(room.given), rank)
        self.room = room

    def exchange(self, parts, lengths):
        self.room.given[self.rank] = [part.clone() for part in parts]
        if any(given is None for given in self.room.given):
            return [torch.zeros(n) for n in lengths]
        taken = [given[self.rank] for given in self.room.given]
        assert [len(part) for part in taken] == list(lengths)
        return taken


def speak(mesh_axes, wanted, values):
    """What each member of a group takes, every member having spoken."""
    size = len(values)
    room = Room(size)
    for _ in range(2):  # the first round only fills the room
        taken = []
        for rank in range(size):
            processes = Processes(Mesh(**mesh_axes, rank=rank), share=Member(room, rank))
            taken.append(Sharing(processes, wanted).values(values[rank]))
    return taken


def test_alone_everything_stays():
    values = {A: torch.ones(2, 3), B: torch.zeros(2, 1)}
    assert Sharing().values(values) == values
    assert torch.equal(Sharing().places(torch.tensor([4, 2])), torch.tensor([4, 2]))


def test_members_that_hold_other_latents_get_all_rows_in_the_order_of_ranks():
    values = [{A: torch.full((1, 2), float(r)), B: torch.full((1, 3), 10.0 + r)} for r in range(2)]
    for taken in speak({"latent": 2}, None, values):
        assert taken[A].tolist() == [[0.0, 0.0], [1.0, 1.0]]
        assert taken[B].tolist() == [[10.0] * 3, [11.0] * 3]


def test_members_that_train_other_sites_get_only_these():
    values = [{A: torch.full((1, 2), float(r)), B: torch.full((1, 3), 10.0 + r)} for r in range(2)]
    first, second = speak({"site": 2}, [[A], [B]], values)
    assert list(first) == [A]
    assert first[A].tolist() == [[0.0, 0.0], [1.0, 1.0]]
    assert list(second) == [B]
    assert second[B].tolist() == [[10.0] * 3, [11.0] * 3]
