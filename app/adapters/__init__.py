"""Adapters: search and answers inside LangChain, LangGraph and LlamaIndex; each loads its library.

    from hoptrail.app.adapters import ask_tool, langchain_retriever

Nothing is imported until it is used. LlamaIndex and LangChain's core come with hoptrail.
"""

from typing import TYPE_CHECKING

import lazy_loader

if TYPE_CHECKING:
    from hoptrail.app.adapters.langchain_retriever import LangChainRetriever
    from hoptrail.app.adapters.langchain_tool import ask_tool
    from hoptrail.app.adapters.langgraph_node import question_node
    from hoptrail.app.adapters.llama_index_documents import documents_of
    from hoptrail.app.adapters.llama_index_query_engine import LlamaIndexQueryEngine
    from hoptrail.app.adapters.llama_index_retriever import LlamaIndexRetriever

__getattr__, __dir__, _ = lazy_loader.attach(
    __name__,
    submod_attrs={
        "langchain_retriever": ["LangChainRetriever"],
        "langchain_tool": ["ask_tool"],
        "langgraph_node": ["question_node"],
        "llama_index_documents": ["documents_of"],
        "llama_index_query_engine": ["LlamaIndexQueryEngine"],
        "llama_index_retriever": ["LlamaIndexRetriever"],
    },
)

__all__ = [
    "LangChainRetriever",
    "LlamaIndexQueryEngine",
    "LlamaIndexRetriever",
    "ask_tool",
    "documents_of",
    "question_node",
]
