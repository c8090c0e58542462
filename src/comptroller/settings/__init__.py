"""comptroller.toml: every setting of the process. What they are is in `schema`, how they are read in `load`."""

from comptroller.settings.keys import UnusableKey, files_of, read_key, read_variable, variables_of
from comptroller.settings.load import SettingsError, load_settings, read_text, read_toml
from comptroller.settings.policies import read_policies
from comptroller.settings.schema import (
    AdminSettings,
    LimitSettings,
    NotifySettings,
    ProviderSettings,
    RetentionSettings,
    Settings,
    TraceSettings,
)
from comptroller.settings.servers import ServerSettings
from comptroller.settings.values import Address, BaseUrl, KeySource, Networks, read_base_url

__all__ = [
    "Address",
    "AdminSettings",
    "BaseUrl",
    "KeySource",
    "LimitSettings",
    "Networks",
    "NotifySettings",
    "ProviderSettings",
    "RetentionSettings",
    "ServerSettings",
    "Settings",
    "SettingsError",
    "TraceSettings",
    "UnusableKey",
    "files_of",
    "load_settings",
    "read_base_url",
    "read_key",
    "read_policies",
    "read_text",
    "read_toml",
    "read_variable",
    "variables_of",
]
