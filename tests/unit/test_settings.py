"""Settings that contradict each other are refused by name."""

import pytest
from pydantic import ValidationError

from pipeline.settings import Settings


def test_combo_source_that_is_not_accepted_is_named() -> None:
    with pytest.raises(ValidationError, match="not among the sources: kiosk, web"):
        Settings.model_validate({"combo_sources": "POS,web,kiosk"})


def test_combo_sources_may_be_all_sources() -> None:
    settings = Settings.model_validate({"sources": "POS,web", "combo_sources": "web,POS"})
    assert settings.rules().combo_sources == {"POS", "web"}
