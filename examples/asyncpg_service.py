"""An asyncio service on asyncpg: payments and their receipts in one transaction, the worker in the same loop.

DATABASE_URL=postgresql://localhost/shop python examples/asyncpg_service.py
"""

from __future__ import annotations

import asyncio
import os

import asyncpg

import rowqueue

URL = os.environ.get("DATABASE_URL", "postgresql://localhost/postgres")

app = rowqueue.App(URL)


@app.job(queue="receipts")
async def send_receipt(context: rowqueue.Context, payment_id: int) -> None:
    connection = await asyncpg.connect(URL)
    try:
        async with connection.transaction():
            amount = await connection.fetchval(
                "UPDATE payment SET receipts = receipts + 1 WHERE id = $1 RETURNING amount", payment_id
            )
            await context.complete_in(connection, {"amount": amount})  # with the UPDATE, or not at all
    finally:
        await connection.close()


async def pay(pool: asyncpg.Pool, amount: int) -> None:
    async with pool.acquire() as connection, connection.transaction():
        payment = await connection.fetchval("INSERT INTO payment (amount) VALUES ($1) RETURNING id", amount)
        await send_receipt.on(connection).enqueue(payment)
        if amount <= 0:
            raise ValueError(f"nobody pays {amount}")


async def main() -> None:
    await app.async_store.init()
    async with asyncpg.create_pool(URL, min_size=1, max_size=4) as pool:
        await pool.execute(
            "CREATE TABLE IF NOT EXISTS payment"
            " (id bigserial PRIMARY KEY, amount int NOT NULL, receipts int NOT NULL DEFAULT 0)"
        )
        amounts = [5, 10, 0, 20]
        answers = await asyncio.gather(*(pay(pool, amount) for amount in amounts), return_exceptions=True)
        print("refused:", [str(answer) for answer in answers if answer is not None])
        await rowqueue.Worker(app, drain=True).run_async()
        rows = await pool.fetch("SELECT amount, receipts FROM payment ORDER BY amount")
        print("receipts:", {row["amount"]: row["receipts"] for row in rows})
    await app.aclose()


if __name__ == "__main__":
    asyncio.run(main())
