"""The tags of RTP packets under AES-CM (RFC 3711 §4.2.1), eight at a time.

A packet is encrypted when it is written and gets its tag just before it leaves: until then it waits in the out arena
with the rollover counter, which the tag covers and then replaces, behind it. Hashing several at once takes less than
half of the time that one after the other does ([decision 10](../../../docs/decisions/0010-tags-in-lanes.md)).
"""

from typing import Any

from sluicegate.compiled import i64, kernel, u64
from sluicegate.router.kernel.digest import hmac_sha1
from sluicegate.router.kernel.header import copy_bytes, write_16, write_32
from sluicegate.router.native import call
from sluicegate.router.records import DIGEST_WORDS, LANES, NONE, SLOT_BYTES
from sluicegate.router.tables import Tables
from sluicegate.rtp.sealing import BLOCK_BYTES

TAG = 10
ROLLOVERS = 4
LENGTH_FIELD = 8
FEWEST = 4
"""So many packets are hashed together; fewer one by one, which is quicker with the processor's instructions."""


@kernel
def write_tags(t: Tables) -> None:
    """Write all tags that packets in the out arena wait for."""
    state = t.state[0]
    if state.untagged == 0:
        return
    count = 0
    for slot in range(state.out_count):
        if t.out_slots[slot].untagged != NONE:
            t.lanes[count].slot = slot
            count += 1
            if count == LANES:
                tag_together(t, count)
                count = 0
    if count >= FEWEST:
        tag_together(t, count)
    else:
        for index in range(count):
            tag_alone(t, t.lanes[index].slot)
    state.untagged = 0


@kernel
def tag_alone(t: Tables, slot: int) -> None:
    packet = t.out_slots[slot]
    covered = packet.length - TAG + ROLLOVERS
    hmac_sha1(t, t.tag_keys[packet.untagged], t.pointers[0].out + slot * SLOT_BYTES, covered)
    copy_bytes(t.out[slot], packet.length - TAG, t.digest, 0, TAG)
    packet.untagged = NONE


@kernel
def tag_together(t: Tables, count: int) -> None:
    """Write the tags of the packets in the first `count` lanes; the other lanes hash what nobody reads."""
    most = 0
    for index in range(LANES):
        lane = t.lanes[index]
        lane.blocks = 0
        t.lane_addresses[index] = t.pointers[0].lane_blocks
        if index < count:
            packet = t.out_slots[lane.slot]
            set_lane(t, index, t.tag_keys[packet.untagged], 0, t.pointers[0].out + lane.slot * SLOT_BYTES)
            lane.blocks = fill_up(t.out[lane.slot], packet.length - TAG + ROLLOVERS)
            most = max(most, lane.blocks)
    for block in range(1, most + 1):
        compress_lanes(t)
        for index in range(LANES):
            lane = t.lanes[index]
            if block < lane.blocks:
                t.lane_addresses[index] += BLOCK_BYTES
            elif block == lane.blocks:
                read_lane(t, index)
    for index in range(count):
        outer = t.tag_keys[t.out_slots[t.lanes[index].slot].untagged]
        set_lane(t, index, outer, DIGEST_WORDS, t.pointers[0].lane_blocks + index * BLOCK_BYTES)
    compress_lanes(t)
    for index in range(count):
        packet = t.out_slots[t.lanes[index].slot]
        read_lane(t, index)
        copy_bytes(t.out[t.lanes[index].slot], packet.length - TAG, t.lane_blocks[index], 0, TAG)
        packet.untagged = NONE


@kernel
def compress_lanes(t: Tables) -> None:
    """Hash one block in each lane."""
    call(t.native[0].sha1_compress, t.pointers[0].lane_states, t.pointers[0].lane_addresses, 0, 0, 0)


@kernel
def set_lane(t: Tables, index: int, key: Any, half: int, address: int) -> None:
    """Have a lane go on from one of a key's two states (`digest.set_key`) with the block at an address."""
    for word in range(DIGEST_WORDS):
        t.lane_states[word, index] = key[half + word]
    t.lane_addresses[index] = address


@kernel
def read_lane(t: Tables, index: int) -> None:
    """Write a lane's state into the beginning of its block, as the 20 bytes of a digest."""
    for word in range(DIGEST_WORDS):
        write_32(t.lane_blocks[index], 4 * word, i64(t.lane_states[word, index]))


@kernel
def fill_up(row: Any, length: int) -> int:
    """Put the end of a SHA-1 message (FIPS 180-4 §5.1.1) behind so many bytes, to which a block of key is added; how
    many blocks they make."""
    blocks = (length + 1 + LENGTH_FIELD + BLOCK_BYTES - 1) // BLOCK_BYTES
    end = blocks * BLOCK_BYTES
    row[length] = 0x80
    for place in range(u64(length + 1), u64(end - 2)):
        row[place] = 0
    write_16(row, end - 2, 8 * (BLOCK_BYTES + length))
    return blocks
