"""One test for all that a module refuses."""

import pytest

from lattice_diffusion.errors import InputError


def refusals(*cases, of=lambda call: call(), error=InputError):
    """A test that `of` each (subject, sentence) raises `error` with one sentence that has this one in it."""

    @pytest.mark.parametrize(("subject", "sentence"), cases)
    def test(subject, sentence):
        with pytest.raises(error, match=sentence) as caught:
            of(subject)
        assert "\n" not in str(caught.value)

    return test
