"""One test for all that a module refuses."""

import pytest

from lattice_diffusion.errors import InputError


def refusals(*cases, error=InputError, given=tuple):
    """A test that each (call, sentence) raises `error` with one sentence that has this one in it.

    Calls are given what `given()` returns.
    """

    @pytest.mark.parametrize(("call", "sentence"), cases)
    def test(call, sentence):
        with pytest.raises(error, match=sentence) as caught:
            call(*given())
        assert "\n" not in str(caught.value)

    return test
