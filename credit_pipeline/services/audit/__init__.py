"""Whether the audit still says what was written, and what an auditor's evidence pack holds."""
