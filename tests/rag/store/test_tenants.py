from __future__ import annotations

import stat
from pathlib import Path

import pytest
from support.store import indexed, new_store, texts, vector

from hoptrail.rag.errors import SettingsError
from hoptrail.rag.store.store import Store


@pytest.mark.parametrize("name", ["", "A", "a.b", "../x", "a/b", "a" * 65, ".", "a\n", "ä", ".new"])
def test_a_tenant_name_cannot_be_a_path(tmp_path: Path, name: str) -> None:
    with pytest.raises(SettingsError, match="tenant name"):
        Store.open(tmp_path, tenant=name)
    with pytest.raises(SettingsError, match="tenant name"):
        new_store(tmp_path, tenant=name)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    "what", ["", "catalogue.db", "secret", "writer.lock", "tantivy", "vectors-0.f32"]
)
def test_a_symbolic_link_into_another_tenant_is_refused(tmp_path: Path, what: str) -> None:
    for tenant in ("own", "foreign"):
        with new_store(tmp_path, tenant=tenant) as store:
            store.commit([indexed("a", [f"{tenant} ship"])])
    target = tmp_path / "own" / what
    target.rename(tmp_path / "away")
    target.symlink_to(tmp_path / "foreign" / what)
    with pytest.raises(SettingsError, match="symbolic link"):
        Store.open(tmp_path, tenant="own")


def test_tenants_share_nothing(tmp_path: Path) -> None:
    with new_store(tmp_path, tenant="one") as one, new_store(tmp_path, tenant="two") as two:
        one.commit([indexed("a", ["a red ship"])])
        two.commit([indexed("a", ["a blue boat"]), indexed("b", ["x y ship"])])
        assert (one.generation, two.generation) == (1, 1)
        assert texts(one, one.lexical("ship", 9)) == ["a red ship"]
        assert texts(one, one.dense(vector(0), 9)) == ["a red ship"]
        assert one.secret != two.secret
    assert sorted(path.name for path in tmp_path.iterdir()) == ["one", "two"]


def test_the_secret_is_private_random_and_stays(tmp_path: Path) -> None:
    with new_store(tmp_path) as store:
        secret = store.secret
    assert len(secret) == 32
    assert stat.S_IMODE((tmp_path / "default" / "secret").stat().st_mode) == 0o600
    with Store.open(tmp_path) as store:
        assert store.secret == secret
        assert repr(secret) not in repr(store)
