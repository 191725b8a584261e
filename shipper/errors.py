"""The shipper's errors.

ShipperError
├── SettingsError       a setting cannot be used
├── StateError          the state folder cannot be used, or another shipper uses it
├── Waiting             Elasticsearch cannot take it now: try again, for as long as it takes
│   └── SystemicError   waiting will not help by itself: somebody must act
├── DeadLetterError     a dead letter cannot be written; nothing may move on
└── Stopped             the process ends before the records were settled; they are sent again at the next start
"""

from __future__ import annotations


class ShipperError(Exception):
    """Anything the shipper says about itself."""


class SettingsError(ShipperError, ValueError):
    """A setting cannot be used; the message names it and says what it may be."""


class StateError(ShipperError):
    """The state folder cannot be used."""


class Waiting(ShipperError):  # noqa: N818 - a state that the retry loop reacts to, not a fault of the program
    """Nothing was settled this time; the same records are tried again after a pause."""


class SystemicError(Waiting):
    """A fault that concerns more than single records, such as rights, a missing index or a wrong mapping."""


class DeadLetterError(ShipperError):
    """A dead letter cannot be written, so its file must stop."""


class Stopped(ShipperError):  # noqa: N818 - says how a wait ended
    """The shipper stops; what is not acknowledged stays so."""
