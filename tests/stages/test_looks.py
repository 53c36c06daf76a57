"""How micrographs are looked at, by the config and by what the weights say of themselves."""

from __future__ import annotations

import json

import pytest
from hydra import compose, initialize_config_dir
from omegaconf import DictConfig
from safetensors import safe_open

from tem_seg.config import check, schema
from tem_seg.core.errors import UserError
from tem_seg.models import checkpoint
from tem_seg.stages import common, predict

ASKS = {"find_scale": True}


def config(*overrides: str) -> DictConfig:
    schema.register()
    with initialize_config_dir(str(check.config_folder()), version_base="1.3"):
        cfg: DictConfig = compose("config", ["experiment=emps_mask_rcnn", "profile=laptop", *overrides])
        check.check(cfg)
        return cfg


@pytest.mark.parametrize(
    ("overrides", "about", "scales", "finds"),
    [
        ([], {}, (1.0,), False),
        ([], ASKS, (1.0,), True),
        (["prediction.find_scale=true"], {}, (1.0,), True),
        (["prediction.find_scale=false"], ASKS, (1.0,), False),
        (["prediction.scales=[0.5,2]"], ASKS, (0.5, 2.0), False),
        (["prediction.scales=[1.0]"], ASKS, (1.0,), False),
    ],
)
def test_the_config_comes_first_then_the_weights(
    overrides: list[str], about: dict[str, bool], scales: tuple[float, ...], finds: bool
) -> None:
    look = common.predictor(config(*overrides), "32-true", about)
    assert (look.scales, look.find_scale) == (scales, finds)


def test_a_magnification_is_found_or_given() -> None:
    with pytest.raises(UserError, match=r"find_scale=true .* prediction.scales=\[2.0\] gives it: leave one out"):
        config("prediction.scales=[2.0]", "prediction.find_scale=true")


def test_finest_is_a_look_of_ones_own() -> None:
    look = common.predictor(config("prediction.finest=4.0"), "32-true", ASKS)
    assert look.finest == 4.0 and not look.find_scale
    with pytest.raises(UserError, match=r"find_scale=true .* prediction.finest=4.0 gives it: leave one out"):
        config("prediction.finest=4.0", "prediction.find_scale=true")
    plain, finer = (common.predictor(config(*more), "32-true", {}) for more in ((), ("prediction.finest=4.0",)))
    assert "finest" not in plain.magnifications_and_views, "what was calibrated before goes on holding"
    assert finer.magnifications_and_views["finest"] == 4.0


def test_a_calibration_holds_for_the_look_it_was_fitted_with(capsys: pytest.CaptureFixture[str]) -> None:
    calibration = {"temperature": 2.0, "look": {"scales": None, "augment": "none"}}
    about = ASKS | {"counting_score": 0.8, "calibration": calibration}
    carried = {"counting_score": 0.8, "calibration": calibration}

    def found(*overrides: str) -> dict[str, object]:
        return predict._carried(about, common.predictor(config(*overrides), "32-true", about))

    assert found() == found("prediction.min_score=0.3", "prediction.tile_px=null") == carried
    assert capsys.readouterr().out == ""
    for other in ("prediction.scales=[1.0]", "prediction.find_scale=false", "prediction.augment=flip"):
        assert found(other) == {}
        assert "another look" in capsys.readouterr().out
    assert predict._carried({}, common.predictor(config(), "32-true", {})) == {}


def test_the_packages_weights_are_calibrated_for_how_they_look() -> None:
    with safe_open(checkpoint.path_of("starter"), "pt") as file:
        about = json.loads(file.metadata()["tem_seg"])
    look = common.predictor(config("model=starter"), "32-true", about)
    assert look.find_scale
    carried = predict._carried(about, look)
    assert 0.5 < carried["counting_score"] < 1
    assert carried["calibration"]["temperature"] > 0 and carried["calibration"]["edge_sd_factor"] > 0
    assert carried["calibration"]["fitted_on"] == "EMPS validation part, 56 micrographs"
