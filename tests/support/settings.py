"""What settings files are checked against: providers' options, secrets and what must not show."""

from pydantic import field_validator, model_validator

from exporter.config.model import Duration, Named, Secret, TargetOptions
from exporter.config.values import invalid
from exporter.exposition.catalogue import capped
from exporter.providers import PROVIDERS

CANARY = "sk-live-C4n4ry/7f3a+Secret"
CANARIES = ("C4n4ry", "C4N4RY", "1234567890123", "7f3a")
ENVIRON = {"VOICEFLOW_API_KEY": CANARY, "EMPTY_KEY": "", "BROKEN_KEY": "C4n4ry\n7f3a"}
FAMILIES = capped(PROVIDERS)


class HourlyOptions(TargetOptions):
    """A provider that may be asked once an hour."""

    base_url: str = "https://hourly.example.com"
    interval: Duration = 3_600_000
    account_key: Secret
    bots: tuple[str | Named, ...] = ()
    label: str | dict[str, int] | None = None

    @field_validator("interval")
    @classmethod
    def _is_an_hour(cls, value: int) -> int:
        if value < 3_600_000:
            raise invalid("interval", "below the provider's limit of one call an hour", "use 1h")
        return value

    @model_validator(mode="after")
    def _has_a_steady_label(self) -> "HourlyOptions":
        # Careless on purpose: it repeats what stands in the file.
        if self.label in self.bots:
            raise ValueError(f"the label {self.label} is also in {self.bots}")
        return self


OPTIONS: dict[str, type[TargetOptions]] = {
    "voiceflow": PROVIDERS["voiceflow"].options,
    "flowxo": PROVIDERS["flowxo"].options,
    "hourly": HourlyOptions,
}
