export default function FeaturePage({ id, latent }: { id: string; latent: number }) {
  return (
    <h1>
      {id} {latent}
    </h1>
  );
}
