"""Key slots of a machine's two ranges: who holds one, what the host says of them, and who is refused."""

from __future__ import annotations

from dataclasses import replace

from tests.host import machine
from tests.host.daemon import REQUEST, closed_with, daemon, run
from tests.host.machine import FakePlatform
from tests.host.test_sev_launch import TEES, es_echo, launched, plain_echo
from wasmkeep.host.settings import Limits


def test_a_tenant_who_says_nothing_costs_no_key_slot() -> None:
    async def scenario() -> None:
        async with daemon(tees=TEES, limits=Limits(launch_seconds=0.1)) as host:
            created = await host.create(tee="sev-es")
            async with host.session(created["id"]) as tenant:
                assert await closed_with(tenant) == (4003, "the tenant's launch message did not come (0.1 s)")
            assert host.platform.sev_guests == []
            await host.gone()

    run(scenario())


def test_every_kind_is_listed_with_its_slots() -> None:
    async def scenario() -> None:
        async with daemon(FakePlatform(es_echo), tees=TEES) as host:
            for kind in ("sev-es", "sev-es", "sev"):
                created = await host.create(tee=kind)
            tees = (await host.client.get("/v1/platform")).json()["tees"]
            assert [(tee["kind"], tee["slots"], tee["slots_used"]) for tee in tees] == [
                ("snp", 400, 0),
                ("sev-es", 400, 0),
                ("sev", 100, 0),
            ]
            assert "reported_tcb" in tees[0]
            assert all((tee["api"], tee["build"]) == ("1.55", 40) for tee in tees[1:])
            created = await host.create(tee="sev-es")
            async with host.session(created["id"]) as tenant:
                await launched(host, tenant)
                tees = (await host.client.get("/v1/platform")).json()["tees"]
                assert [tee["slots_used"] for tee in tees] == [1, 1, 0]

    run(scenario())


def test_sev_es_and_snp_share_their_slots_and_plain_sev_has_its_own() -> None:
    tees = tuple(replace(tee, slots=1) for tee in TEES)

    async def scenario() -> None:
        async with daemon(FakePlatform(plain_echo), tees=tees) as host:
            created = await host.create(tee="sev")
            async with host.session(created["id"]) as tenant:
                await launched(host, tenant)
                for kind, status in (("sev", 503), ("sev-es", 201)):
                    answer = await host.client.post("/v1/keeps", json={**REQUEST, "tee": kind})
                    assert answer.status_code == status, (kind, answer.text)
        async with daemon(FakePlatform(machine.endless_echo), tees=tees) as host:
            await host.create()
            # Those whose tenants have not spoken have no slot, however many they are.
            for kind, status in (("sev-es", 503), ("snp", 503), ("sev", 201), ("sev", 201)):
                answer = await host.client.post("/v1/keeps", json={**REQUEST, "tee": kind})
                assert answer.status_code == status, (kind, answer.text)

    run(scenario())
