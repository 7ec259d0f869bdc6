import dataclasses

from beam_jobs.prefetch.candidates import Candidates


def test_prompts_come_back_in_their_order_each_digest_once(prompt_of):
    prompts = [
        prompt_of(f"number {number % 300} — 狐", seed=number % 300, origin=f"a:{number}")
        for number in range(400)
    ]
    with Candidates() as candidates:
        assert [candidates.add(each) for each in prompts] == [True] * 300 + [False] * 100
        parts = list(candidates.digests())
        assert list(candidates.prompts()) == [
            dataclasses.replace(each, body=b"", attributes={}) for each in prompts[:300]
        ]
    digests = [digest for part in parts for digest in part]
    assert digests == sorted({each.digest for each in prompts})
    assert all(len({digest[:2] for digest in part}) == 1 for part in parts)
    assert len({part[0][:2] for part in parts}) == len(parts)


def test_there_may_be_none():
    with Candidates() as candidates:
        assert list(candidates.digests()) == []
        assert list(candidates.prompts()) == []
