"""The transformers: scikit-learn's conventions, and their numbers against other implementations."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
import pytest
import scipy.sparse as sp
from numpy.testing import assert_allclose, assert_array_equal
from numpy.typing import NDArray
from sklearn.base import clone
from sklearn.exceptions import NotFittedError
from sklearn.feature_extraction.text import TfidfTransformer
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import normalize
from sklearn.utils.estimator_checks import parametrize_with_checks

from pipelines.errors import InputError
from pipelines.text.vectorizer import HashedNgramVectorizer, TermWeighting

TEXTS = ["good, very good", "a great film", "fine and good", "bad", "an awful film", "so bad"]


def random_counts(seed: int = 0, rows: int = 40, columns: int = 60) -> sp.csr_matrix:
    dense = np.random.default_rng(seed).poisson(0.3, size=(rows, columns))
    return sp.csr_matrix(dense.astype(np.float32))


@parametrize_with_checks([TermWeighting("tfidf"), TermWeighting("count", min_df=1)])
def test_term_weighting_keeps_the_conventions(estimator: TermWeighting, check: Any) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        check(estimator)


class TestHashedNgramVectorizer:
    def test_parameters_clone_and_repr(self) -> None:
        vectorizer = HashedNgramVectorizer(ngram_max=2, bits=12)
        others = {"char_max": 0, "language": "en"}
        assert vectorizer.get_params() == {"ngram_max": 2, "bits": 12, **others}
        assert clone(vectorizer).get_params() == vectorizer.get_params()
        assert clone(vectorizer).set_params(bits=13).bits == 13
        assert repr(vectorizer) == "HashedNgramVectorizer(bits=12, ngram_max=2)"
        with pytest.raises(ValueError, match="Invalid parameter"):
            vectorizer.set_params(ngrams=3)

    def test_needs_no_fitting(self) -> None:
        vectorizer = HashedNgramVectorizer(2, 12)
        assert vectorizer.fit(TEXTS, [0] * 6) is vectorizer
        before = vectorizer.transform(TEXTS)
        assert (HashedNgramVectorizer(2, 12).fit_transform(TEXTS) != before).nnz == 0

    def test_counts(self) -> None:
        counts = HashedNgramVectorizer(1, 20).transform(["good good bad", "bad", ""])
        assert isinstance(counts, sp.csr_matrix)
        assert counts.shape == (3, 2**20)
        assert counts.dtype == np.float32
        assert counts.indices.dtype == counts.indptr.dtype == np.int32
        assert counts.sum(axis=1).A1.tolist() == [3, 1, 0]
        assert sorted(counts.data) == [1, 1, 2]

    def test_no_texts(self) -> None:
        assert HashedNgramVectorizer(3, 12).transform([]).shape == (0, 2**12)

    def test_works_in_a_pipeline(self) -> None:
        pipeline = make_pipeline(HashedNgramVectorizer(2, 12), TermWeighting("tfidf", min_df=1))
        assert pipeline.fit_transform(TEXTS).shape[0] == len(TEXTS)

    @pytest.mark.parametrize("wrong", ["one text", [1], [None], [["a"]], None, np.zeros((2, 2))])
    def test_refuses_values_that_are_not_texts(self, wrong: object) -> None:
        with pytest.raises(InputError):
            HashedNgramVectorizer().transform(wrong)

    @pytest.mark.parametrize(
        "parameters",
        [{"ngram_max": 0}, {"ngram_max": 1.5}, {"bits": 0}, {"bits": 31}, {"char_max": 2}],
    )
    def test_refuses_wrong_parameters(self, parameters: dict[str, Any]) -> None:
        with pytest.raises(ValueError, match=next(iter(parameters))):
            HashedNgramVectorizer(**parameters).transform(TEXTS)


class TestTermWeighting:
    def test_tfidf_is_that_of_scikit_learn(self) -> None:
        counts = random_counts()
        expected = TfidfTransformer(sublinear_tf=True).fit(counts)
        found = TermWeighting("tfidf", min_df=1).fit(counts)
        other = random_counts(1)
        other.data[0] = 7
        # A column that no row has is left out here.
        columns = found.buckets_
        reference = expected.transform(counts)[:, columns]
        assert_allclose(found.transform(counts).toarray(), reference.toarray(), rtol=1e-6)
        seen = sp.csr_matrix(other.toarray() * np.isin(np.arange(60), columns), dtype=np.float32)
        reference = expected.transform(seen)[:, columns]
        assert_allclose(found.transform(other).toarray(), reference.toarray(), rtol=1e-6)

    def test_tfidf_of_rare_terms_left_out(self) -> None:
        counts = random_counts()
        found = TermWeighting("tfidf", min_df=10).fit(counts)
        assert_array_equal(np.sort(found.buckets_), np.flatnonzero(counts.getnnz(axis=0) >= 10))
        idf = np.log(41 / (1 + counts.getnnz(axis=0)[found.buckets_])) + 1
        dense = counts.toarray()[:, found.buckets_]
        raw = np.where(dense > 0, 1 + np.log(np.maximum(dense, 1)), 0) * idf
        assert_allclose(found.transform(counts).toarray(), normalize(raw), rtol=1e-6)

    @pytest.mark.parametrize("smoothing", [0.5, 1.0, 2.0])
    def test_log_count_ratio_is_that_of_the_paper(self, smoothing: float) -> None:
        counts = random_counts()
        labels = np.random.default_rng(1).integers(0, 2, 40)
        found = TermWeighting("nb", min_df=3, smoothing=smoothing).fit(counts, labels)
        kept, ratio = naive_log_count_ratio(counts.toarray(), labels, 3, smoothing)
        order = np.argsort(found.buckets_)
        assert_array_equal(found.buckets_[order], kept)
        assert_allclose(found.weights_[order], ratio, rtol=1e-5, atol=1e-6)
        presence = normalize((counts.toarray() > 0).astype(float))
        features = found.transform(counts).toarray()[:, order]
        assert_allclose(features, presence[:, kept] * ratio, rtol=1e-5, atol=1e-6)

    def test_frequent_terms_come_first(self) -> None:
        counts = random_counts()
        found = TermWeighting("binary", min_df=3).fit(counts).buckets_
        df = counts.getnnz(axis=0)[found]
        assert_array_equal(found, found[np.lexsort((found, -df))])

    def test_uninformative_terms_are_left_out(self) -> None:
        counts, labels = random_counts(), np.arange(40) % 2
        every = TermWeighting("nb").fit(counts, labels)
        found = TermWeighting("nb", min_ratio=0.2).fit(counts, labels)
        telling = np.abs(every.weights_) >= 0.2
        assert 0 < telling.sum() < telling.size
        assert_array_equal(found.buckets_, every.buckets_[telling])
        features = every.transform(counts).toarray()[:, telling]
        assert_allclose(found.transform(counts).toarray(), features, rtol=1e-6)

    def test_frequent_terms_are_damped(self) -> None:
        counts, labels = random_counts(), np.arange(40) % 2
        plain = TermWeighting("nb").fit(counts, labels)
        found = TermWeighting("nb", damping=0.5).fit(counts, labels)
        df = counts.getnnz(axis=0)[plain.buckets_]
        assert_array_equal(found.buckets_, plain.buckets_)
        assert_allclose(found.weights_, plain.weights_ / np.sqrt(df), rtol=1e-6)

    def test_all_terms_are_kept_if_none_is_informative(self) -> None:
        counts = sp.csr_matrix(np.ones((4, 3), dtype=np.float32))
        assert TermWeighting("nb", min_ratio=0.2).fit(counts, [0, 1, 0, 1]).buckets_.size == 3

    def test_log_count_ratio_takes_labels_of_any_kind(self) -> None:
        counts = random_counts()
        labels = np.arange(40) % 2
        words = np.array(["NEGATIVE", "POSITIVE"])[labels]
        by_number = TermWeighting("nb").fit(counts, labels).weights_
        assert_array_equal(TermWeighting("nb").fit(counts, words).weights_, by_number)

    @pytest.mark.parametrize("scheme", ["binary", "count"])
    def test_presence_and_counts_have_unit_length(self, scheme: str) -> None:
        counts = random_counts()
        dense = counts.toarray() if scheme == "count" else counts.toarray() > 0
        found = TermWeighting(scheme, min_df=1).fit(counts)
        expected = normalize(dense.astype(float))[:, found.buckets_]
        assert_allclose(found.transform(counts).toarray(), expected, rtol=1e-6)

    @pytest.mark.parametrize("scheme", ["nb", "tfidf", "binary", "count"])
    def test_stored_zeros_are_nothing(self, scheme: str) -> None:
        counts = random_counts()
        labels = np.arange(40) % 2
        with_zeros = counts.copy()
        with_zeros.data[::3] = 0
        without = with_zeros.copy()
        without.eliminate_zeros()
        expected = TermWeighting(scheme).fit(without, labels)
        found = TermWeighting(scheme).fit(with_zeros, labels)
        assert_array_equal(found.weights_, expected.weights_)
        transformed = found.transform(with_zeros)
        assert np.isfinite(transformed.data).all()
        assert (transformed != expected.transform(without)).nnz == 0
        assert with_zeros.nnz == counts.nnz, "the input was changed"

    def test_two_class_conventions_of_nb(self) -> None:
        counts, labels = random_counts(), np.arange(40) % 2
        weighting = TermWeighting("nb")
        with pytest.raises(NotFittedError):
            weighting.transform(counts)
        assert clone(weighting).get_params() == weighting.get_params()
        assert weighting.fit(counts, labels) is weighting
        before = {key: np.copy(value) for key, value in vars(weighting).items()}
        first = weighting.transform(counts)
        assert (first != weighting.fit(counts, labels).transform(counts)).nnz == 0
        for key, value in vars(weighting).items():
            assert_array_equal(value, before[key])
        assert first.dtype == np.float32
        with pytest.raises(ValueError, match="expecting 60 features"):
            weighting.transform(counts[:, :9])
        with pytest.raises(ValueError, match="Negative values"):
            weighting.transform(-counts)

    @pytest.mark.parametrize("labels", [None, [0] * 40, [0, 1, 2, 3] * 10])
    def test_nb_needs_two_classes(self, labels: object) -> None:
        with pytest.raises(ValueError, match="two classes"):
            TermWeighting("nb").fit(random_counts(), labels)

    @pytest.mark.parametrize(
        "parameters",
        [
            {"scheme": "bm25"},
            {"min_df": 0},
            {"smoothing": 0.0},
            {"smoothing": float("nan")},
            {"min_ratio": -0.1},
        ],
    )
    def test_refuses_wrong_parameters(self, parameters: dict[str, Any]) -> None:
        with pytest.raises(ValueError, match=next(iter(parameters))):
            TermWeighting(**parameters).fit(random_counts(), np.arange(40) % 2)

    def test_a_corpus_in_which_nothing_occurs_twice_keeps_everything(self) -> None:
        counts = sp.csr_matrix(np.eye(4, dtype=np.float32))
        assert TermWeighting("tfidf", min_df=2).fit(counts).buckets_.tolist() == [0, 1, 2, 3]


def naive_log_count_ratio(
    counts: NDArray[np.float32], labels: NDArray[np.int64], min_df: int, smoothing: float
) -> tuple[NDArray[np.intp], NDArray[np.float64]]:
    """Wang and Manning (2012), section 2.1, on presence."""
    presence = counts > 0
    kept = np.flatnonzero(presence.sum(axis=0) >= min_df)
    p = smoothing + presence[labels == 1][:, kept].sum(axis=0)
    q = smoothing + presence[labels == 0][:, kept].sum(axis=0)
    return kept, np.log((p / np.abs(p).sum()) / (q / np.abs(q).sum()))
