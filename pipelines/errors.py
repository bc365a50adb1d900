"""The exceptions of OpinionLens; each message says what to do.

The command line prints the message on stderr and exits with 1; the server answers it as
``application/problem+json``. Nothing else in the project formats errors.
"""


class OpinionLensError(Exception):
    """Base of every error that a user can cause or repair."""


class SettingsError(OpinionLensError):
    """``conf/``, ``.env`` or an ``OLENS_*`` variable holds something that cannot be used."""


class DataError(OpinionLensError):
    """A data file is missing, unreadable or not what its declaration says."""


class InputError(OpinionLensError):
    """A text, or a parameter of a single call, cannot be used."""


class MissingExtraError(OpinionLensError):
    """A command needs packages that this installation does not have."""

    def __init__(self, package: str, extra: str) -> None:
        self._given = package, extra
        super().__init__(
            f"This command needs the package {package!r}, which is not installed. "
            f"Install it with: pip install 'opinionlens[{extra}]'"
        )

    def __reduce__(self) -> tuple[type[Exception], tuple[str, str]]:
        return type(self), self._given


class TrainingError(OpinionLensError):
    """A run or a study cannot be carried out."""


class ModelError(OpinionLensError):
    """A model cannot be used."""


class ModelNotFoundError(ModelError):
    """No such model in the tracking store, the registry or the cache."""


class NoActiveModelError(ModelError):
    """No model answers yet."""


class ModelInUseError(ModelError):
    """A model that is needed cannot be removed."""


class CorruptModelError(ModelError):
    """A model's files are not those its manifest lists."""


class UnsafeModelError(ModelError):
    """Loading the model could execute code, so it was refused."""


class StorageError(OpinionLensError):
    """The disk is full or a folder cannot be written."""


class ClusterError(OpinionLensError):
    """A Ray cluster cannot be reached, or could not finish its work."""


class UnreachableStorageError(StorageError):
    """A database does not answer."""


class StartError(OpinionLensError):
    """The service cannot start."""


class RegistryError(OpinionLensError):
    """The model registry did not do what was asked."""


class RegistryUnavailableError(RegistryError):
    """The model registry did not answer."""


class RegistryAuthError(RegistryError):
    """The model registry refused the credentials."""
