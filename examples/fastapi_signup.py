"""A FastAPI endpoint whose job commits with the endpoint's own SQLAlchemy session.

uvicorn fastapi_signup:web --app-dir examples
cd examples && rowqueue work fastapi_signup:app
"""

from __future__ import annotations

import os
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from typing import Annotated

from fastapi import Depends, FastAPI, HTTPException
from sqlalchemy import create_engine, exc
from sqlalchemy.orm import DeclarativeBase, Mapped, Session, mapped_column

import rowqueue

URL = os.environ.get("DATABASE_URL", "sqlite:///signup.db")

engine = create_engine(URL)
app = rowqueue.App(URL)


class Base(DeclarativeBase):
    """The tables."""


class User(Base):
    """Somebody who signed up."""

    __tablename__ = "users"
    id: Mapped[int] = mapped_column(primary_key=True)
    email: Mapped[str] = mapped_column(unique=True)
    welcomed: Mapped[bool] = mapped_column(default=False)


@app.job(queue="mail", max_attempts=5, timeout=30)
def send_welcome(context: rowqueue.Context, user_id: int) -> str:
    with Session(engine) as session, session.begin():
        user = session.get(User, user_id)
        if user is None:
            raise rowqueue.Skip("the user is gone")
        user.welcomed = True
        session.flush()
        context.complete_in(session, f"welcome, {user.email}")  # exactly once: with the flag, or not at all
        return user.email


@asynccontextmanager
async def lifespan(_: FastAPI) -> AsyncIterator[None]:
    Base.metadata.create_all(engine)
    app.init()
    yield
    await app.aclose()


web = FastAPI(lifespan=lifespan)


def new_session() -> Iterator[Session]:
    with Session(engine) as session, session.begin():
        yield session


@web.post("/users", status_code=201)
def sign_up(
    email: str, session: Annotated[Session, Depends(new_session, scope="function")]
) -> dict[str, int]:
    user = User(email=email)
    session.add(user)
    try:
        session.flush()
    except exc.IntegrityError:
        raise HTTPException(409, "that address is taken") from None
    made = send_welcome.on(session).enqueue(user.id)
    if email.endswith("@example.invalid"):
        raise HTTPException(422, "nobody can be reached there")  # the user and the job are rolled back
    return {"user": user.id, "job": made.job.id}


@web.get("/jobs/{job_id}")
def job(job_id: int) -> dict[str, str]:
    found = app.store.get(job_id)
    if found is None:
        raise HTTPException(404)
    return {"state": found.state.value, "result": str(found.result or "")}
