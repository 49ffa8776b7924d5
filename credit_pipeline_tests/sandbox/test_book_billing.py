"""The book as a billing provider keeps the same promises as the client over HTTP."""

from contextlib import nullcontext

from credit_pipeline.sandbox.billing_book import BillingBook
from credit_pipeline.sandbox.book_billing import BookBilling
from credit_pipeline_tests.contracts.billing import NOW, BillingContract, ids


class TestContract(BillingContract):
    def open(self, book):
        return nullcontext(BookBilling(book))


def test_removing_an_instance_from_the_book_makes_it_missing():
    book = BillingBook()
    book.put("a")
    billing = BookBilling(book)
    before = billing.pull(ids("a"), NOW).table["lookup"].to_pylist()

    book.remove(["a"])

    assert (before, billing.pull(ids("a"), NOW).table["lookup"].to_pylist()) == (["answered"], ["missing"])
