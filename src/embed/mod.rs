//! Vectors of texts: the second stage of a search, for who has a model (W5).
//!
//! What it is for: an [`Embedder`] turns texts into vectors, and [`VectorSink`](crate::index::VectorSink) keeps them beside
//! the records of the index. What it must never do: compare vectors of two models, or keep one that is not what its model
//! promises.

mod http;

use async_trait::async_trait;

pub use http::HttpEmbedder;

/// A model that turns texts into vectors.
#[async_trait]
pub trait Embedder: Send + Sync {
    /// The model's name. Vectors are kept under it and under the number of their dimensions, and only those that
    /// agree in both are compared.
    fn model(&self) -> &str;

    /// How many numbers each vector has.
    fn dimensions(&self) -> usize;

    /// The vectors of these texts, in their order.
    ///
    /// # Errors
    /// [`EmbedError::Unavailable`] if all of it should be tried again later, [`EmbedError::Refused`] if something in the texts is to
    /// blame.
    ///
    /// # Cancel safety
    /// May be dropped at any await.
    async fn embed(&self, texts: &[String]) -> Result<Vec<Vec<f32>>, EmbedError>;
}

/// Why there are no vectors.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum EmbedError {
    /// The model cannot be reached, or does not do what it should: an operator has to look, and the texts wait.
    #[error("{0}")]
    Unavailable(String),
    /// A text is refused.
    #[error("{0}")]
    Refused(String),
}

/// As [`Embedder::embed`], with what it gives looked at: one vector a text, each of the right length and of numbers that can
/// be compared.
pub(crate) async fn embed(embedder: &dyn Embedder, texts: &[String]) -> Result<Vec<Vec<f32>>, EmbedError> {
    let vectors = embedder.embed(texts).await?;
    let model = embedder.model();
    let refuse = |why: String| Err(EmbedError::Unavailable(format!("the model {model:?} gave {why}")));
    if vectors.len() != texts.len() {
        return refuse(format!("{} vector(s) for {} text(s)", vectors.len(), texts.len()));
    }
    for vector in &vectors {
        if vector.len() != embedder.dimensions() {
            let wanted = embedder.dimensions();
            return refuse(format!("a vector of {} dimensions, and {wanted} were said to be its number", vector.len()));
        }
        if vector.iter().any(|number| !number.is_finite()) {
            return refuse("a vector with what is no number (NaN or infinity)".to_owned());
        }
        if vector.iter().all(|number| *number == 0.0) {
            return refuse("a vector of zeros, which has no direction".to_owned());
        }
    }
    Ok(vectors)
}

/// The cosine of the angle between a vector and one that is kept; none if that is no vector of as many dimensions.
pub(crate) fn cosine(vector: &[f32], kept: &[f32]) -> Option<f64> {
    if kept.len() != vector.len() {
        return None;
    }
    let (mut product, mut left, mut right) = (0.0, 0.0, 0.0);
    for (a, b) in vector.iter().zip(kept) {
        let (a, b) = (f64::from(*a), f64::from(*b));
        product += a * b;
        left += a * a;
        right += b * b;
    }
    let length: f64 = (left * right).sqrt();
    (length > 0.0).then(|| product / length)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn w5_a_vector_is_compared_by_its_direction() {
        let about = |cosine: Option<f64>, wanted: f64| cosine.is_some_and(|cosine| (cosine - wanted).abs() < 1e-6);
        assert!(about(cosine(&[1.0, 0.0], &[5.0, 0.0]), 1.0));
        assert!(about(cosine(&[1.0, 0.0], &[0.0, 3.0]), 0.0));
        assert!(about(cosine(&[1.0, 1.0], &[-1.0, -1.0]), -1.0));
        assert!(about(cosine(&[3.0, 4.0], &[4.0, 3.0]), 0.96));
        assert_eq!(cosine(&[1.0, 0.0], &[1.0]), None, "of fewer dimensions");
        assert_eq!(cosine(&[1.0], &[0.0]), None, "of no direction");
    }
}
