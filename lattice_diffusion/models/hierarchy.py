"""The random hierarchy model: tokens that a tree of random rules generates, as grammars do sentences."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from operator import index
from typing import Any, ClassVar, Self

import numpy as np
from numpy.typing import NDArray

from ..channels import Channel, check_symbols, for_tokens
from ..errors import InputError, check_limits, shown
from ..exact.hierarchy import HierarchySolver, density_transition, draw_rules, mean_belief_transition
from ..lattice import Lattice, Rng, Tripartition
from ..samplers.chains import check_memory, check_n_samples
from .base import DataKind, OnLattice, Transition


@dataclass(frozen=True, eq=False)
class RandomHierarchy(OnLattice):
    """Leaves of a tree of `depth` levels: each symbol of a level is written as one of its `synonyms` tuples.

    All vocabulary * synonyms tuples of a level are distinct, so that clean leaves tell every symbol above them. The
    root and the choice among synonyms are uniform (Cagnetta et al. 2024, arXiv:2307.02129).

    Args:
        depth: number of levels of rules; there are branching^depth leaves, on an open 1D lattice.
        branching: number of symbols that one is written as.
        vocabulary: number of symbols of every level.
        synonyms: number of tuples that a symbol may be written as.
        rules: integers (depth, vocabulary, synonyms, branching), level 0 the root's, or the seed that draws them;
            None is seed 0.

    Raises InputError for rules that are not distinct or of another shape, or more tuples than there are.
    """

    name: ClassVar[str] = "random-hierarchy"
    data: ClassVar[DataKind] = "tokens"
    geometry: ClassVar[tuple[str, ...]] = ()
    placement_keys: ClassVar[tuple[str, ...]] = ("center", "patch", "subtree")
    dimension: ClassVar[int | None] = 1
    depth: int
    branching: int
    vocabulary: int
    synonyms: int
    rules: Any = field(default=None, repr=False)

    def __post_init__(self) -> None:
        for name, low in (("depth", 1), ("branching", 2), ("vocabulary", 2), ("synonyms", 1)):
            value = getattr(self, name)
            value = int(value) if isinstance(value, float) and value.is_integer() else value
            check_limits({name: (low, 1 << 16)}, {name: value})
            object.__setattr__(self, name, int(value))
        check_symbols(self.vocabulary, "vocabulary")
        tuples, needed = self.vocabulary**self.branching, self.vocabulary * self.synonyms
        if needed > tuples:
            raise InputError(
                f"vocabulary * synonyms must be at most vocabulary^branching = {tuples}, got {needed}: there are not "
                "that many distinct tuples, and one shared by two symbols would not tell which it stands for"
            )
        if self.depth * np.log2(self.branching) > 40:
            raise InputError(f"depth must leave a tree of at most 2^40 leaves, got {self.branching}^{self.depth}")
        object.__setattr__(self, "rules", self._rules(self.rules))

    def _rules(self, given: Any) -> NDArray[np.int64]:
        sizes = (self.depth, self.vocabulary, self.synonyms, self.branching)
        if given is None or np.ndim(given) == 0:
            seed = 0 if given is None else given
            if not isinstance(seed, np.random.Generator) and (seed != int(seed) or seed < 0):
                raise InputError(f"rules must be an array or a seed >= 0, got {shown(given)}")
            seed = seed if isinstance(seed, np.random.Generator) else int(seed)
            return draw_rules(self.depth, self.branching, self.vocabulary, self.synonyms, seed)
        rules = np.asarray(given)
        if rules.shape != sizes or rules.dtype.kind not in "iu":
            raise InputError(
                f"rules must be integers (depth, vocabulary, synonyms, branching) = {sizes}, got {shown(given)}"
            )
        if rules.min() < 0 or rules.max() >= self.vocabulary:
            raise InputError(f"rules must hold symbols 0..{self.vocabulary - 1}, got {rules.min()}..{rules.max()}")
        for level, tuples in enumerate(rules.reshape(self.depth, -1, self.branching)):
            if len(np.unique(tuples, axis=0)) < len(tuples):
                raise InputError(f"rules must be distinct tuples within a level, got one twice at level {level}")
        return rules.astype(np.int64)

    @classmethod
    def from_parameters(cls, **numbers: Any) -> Self:  # type: ignore[override]
        return cls(**numbers)

    @property
    def q(self) -> int:
        """Number of symbols of the leaves."""
        return self.vocabulary

    @cached_property
    def lattice(self) -> Lattice:  # type: ignore[override]
        return Lattice(self.branching**self.depth)

    @cached_property
    def solver(self) -> HierarchySolver:
        return HierarchySolver(self.rules)

    def sample(self, n_samples: int, rng: Rng = None) -> NDArray[np.unsignedinteger]:
        check_memory(2 * check_n_samples(n_samples) * self.lattice.n_sites)
        return self.solver.sample(n_samples, np.random.default_rng(rng))

    def tripartition(
        self, radius: int, center: Sequence[int] | None = None, patch: int = 1, subtree: bool = False
    ) -> Tripartition:
        """Return A the patch of leaves around `center`, B the leaves near it less A, C the rest.

        Near are the leaves within distance `radius`, or with `subtree` those of the smallest tree of height `radius`
        (or more) that holds A, the shape of B that the tree suggests.
        """
        center = self.lattice.center if center is None else center
        if not subtree:
            return super().tripartition(radius, center, patch)
        A = self.lattice.box(center, 0, patch)
        leaves, height = np.flatnonzero(A), index(radius)
        if not 0 <= height <= self.depth:
            raise InputError(f"radius must be the height of a subtree, 0 to {self.depth}, got {radius}")
        while leaves[0] // self.branching**height != leaves[-1] // self.branching**height:
            height += 1
        tree = np.arange(self.lattice.n_sites) // self.branching**height == leaves[0] // self.branching**height
        return Tripartition(A, tree & ~A, ~tree)

    def placement(self, center: Sequence[int] | None = None, patch: int = 1, subtree: bool = False) -> dict[str, Any]:
        return {**super().placement(center, patch), "subtree": bool(subtree)}

    def transition(self, channel: Channel) -> Transition | None:
        """Return where noise begins to hide the root of infinitely deep trees; None where even t = 0+ hides it."""
        time = density_transition(for_tokens(channel, self.q).name, self.vocabulary, self.synonyms, self.branching)
        if time is None:
            return None
        return Transition(time, "critical", "law of beliefs from level to level, p -> g(prod p_j), averaged over rules")

    def mean_belief_transition(self) -> Transition | None:
        """Return the transition of the epsilon process: every leaf keeps the belief 1 - t + t/v in its clean symbol."""
        time = mean_belief_transition(self.vocabulary, self.synonyms, self.branching)
        if time is None:
            return None
        return Transition(time, "critical", "unstable fixed point of F(p), Sclocchi, Favero and Wyart 2402.16991")
